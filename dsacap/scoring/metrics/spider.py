"""SPIDEr (Liu et al., ICCV 2017): the mean of SPICE and CIDEr-D.

The paper weights both alike, and takes SPICE in 0..1 and CIDEr-D in 0..10, so that CIDEr-D decides
most of it.
"""

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images


def spider(spice: MetricResult, cider: MetricResult) -> MetricResult:
    """Return SPIDEr, 0..5.5, of every image and its mean over images.

    Args:
        spice: SPICE of each image, 0..1.
        cider: CIDEr-D of each image, 0..10.

    Raises:
        UserError: The images differ.
    """
    if spice.per_image.keys() != cider.per_image.keys():
        raise UserError("SPIDEr: SPICE and CIDEr are of other images; score the same ones by both")
    return mean_over_images(
        {i: (score + cider.per_image[i]) / 2 for i, score in spice.per_image.items()}
    )
