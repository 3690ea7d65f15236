import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import mean_over_images
from dsacap.scoring.metrics.spider import spider


def test_it_is_the_mean_of_both_for_every_image():
    spice, cider = mean_over_images({7: 0.5, 3: 0.0}), mean_over_images({3: 10.0, 7: 1.5})
    result = spider(spice, cider)
    assert result.per_image == {7: 1.0, 3: 5.0} and result.corpus == 3.0
    assert result.corpus == (spice.corpus + cider.corpus) / 2


def test_the_images_must_be_the_same():
    with pytest.raises(UserError, match="SPIDEr: SPICE and CIDEr are of other images"):
        spider(mean_over_images({1: 0.5}), mean_over_images({2: 0.5}))
