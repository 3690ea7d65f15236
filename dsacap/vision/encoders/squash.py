"""Photos squashed to a square of pixels, for the encoders that no library preprocesses for."""

from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor


def squashing(side: int) -> Compose:
    """Return the preprocessing of an RGB photo to pixels (3, side, side) from -1 to 1."""
    return Compose(
        [
            Resize((side, side), InterpolationMode.BICUBIC),
            ToTensor(),
            Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
