import pytest

from handmade import HandMade


@pytest.fixture
def made() -> type[HandMade]:
    return HandMade
