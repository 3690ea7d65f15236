"""The disk space that a configuration needs, before anything is fetched or computed."""

from dataclasses import dataclass
from pathlib import Path

from dsacap.common.disk import free_space
from dsacap.config.dataset import Coco, Scenes
from dsacap.config.encoder import Encoder
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.stages.download import room_for_downloads
from dsacap.vision.features.store import INDEX


@dataclass(frozen=True)
class Need:
    """Disk space that is still needed.

    Attributes:
        folder: Where it is needed.
        bytes: How much.
        what: A description of what needs it, with the size.
    """

    folder: Path
    bytes: int
    what: str

    def __str__(self) -> str:
        return f"{self.what}; {free_space(self.folder) / 1e9:.1f} GB free there"


def predicted_sizes(layout: Layout) -> list[Need]:
    """Estimate the space for downloads, features and pixels that do not exist yet.

    Generated data sets are small, so nothing is returned for them. Features and pixels are left out
    while the number of images is unknown.
    """
    config, dataset = layout.config, layout.config.dataset
    if isinstance(dataset, Scenes):
        return []
    needs = []
    if dataset.downloads:
        for folder, size in room_for_downloads(layout, config.downloads).items():
            needs.append(
                Need(folder, size, f"to download and unpack in {folder}: {size / 1e9:.1f} GB")
            )
    # Only scenes can train it; the size of given features is known once one is read.
    if config.encoder.train or config.encoder.features:
        return needs
    if not (layout.features / INDEX).exists() and (images := _images(layout, dataset)):
        from dsacap.vision.features.encode import FeatureSize

        shape = _of_encoder(config.encoder)[0]
        features = FeatureSize(images, config.encoder.views, *shape)
        needs.append(Need(layout.root, features.bytes, f"features in {layout.root}: {features}"))
    trains_encoder = any(config.sees_pixels(system) for system in config.systems)
    if (
        trains_encoder
        and not (layout.pixels / INDEX).exists()
        and (images := _images(layout, dataset))
    ):
        from dsacap.vision.features.pixels import PixelSize

        pixels = PixelSize(images, *_of_encoder(config.encoder)[1])
        needs.append(Need(layout.root, pixels.bytes, f"pixels in {layout.root}: {pixels}"))
    return needs


def _of_encoder(settings: Encoder) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Return the shape of its features and the size of its input, without any weights."""
    if settings.autoencoder:
        import torch

        from dsacap.vision.encoders.latent_encoder import new_latent_encoder

        with torch.device("meta"):
            encoder = new_latent_encoder(settings.autoencoder, settings.grid)
            return encoder.shape(), encoder.image_size
    from dsacap.vision.encoders.load import input_size, shape_without_weights

    assert settings.name is not None  # an encoder that is not trained here has one
    return shape_without_weights(settings.name, settings.grid), input_size(settings.name)


def _images(layout: Layout, dataset: Coco) -> int:
    """Return the number of images, or the expected one; 0 if it is not known yet."""
    if (layout.data / "captions.jsonl").exists():
        return len(load_examples(layout.data))
    return sum((dataset.expected or {}).values())
