import pytest

from small_coco import Coco, small_coco


@pytest.fixture
def coco(tmp_path) -> Coco:
    return small_coco(tmp_path)
