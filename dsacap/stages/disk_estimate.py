"""What a configuration will take of the disk, told before anything is fetched or computed."""

from dataclasses import dataclass
from pathlib import Path

from dsacap.common.disk import free_space
from dsacap.config.dataset import Scenes
from dsacap.data.prepared import load_examples
from dsacap.runs.layout import Layout
from dsacap.stages.download import room_for_downloads
from dsacap.vision.features.store import INDEX


@dataclass(frozen=True)
class Need:
    folder: Path
    bytes: int
    what: str

    def __str__(self) -> str:
        return f"{self.what}; {free_space(self.folder) / 1e9:.1f} GB free there"


def predicted_sizes(layout: Layout) -> list[Need]:
    """What is still to be downloaded, and features; nothing where all is generated and small."""
    config = layout.config
    if isinstance(config.dataset, Scenes):
        return []
    needs = []
    if config.dataset.downloads:
        for folder, size in room_for_downloads(layout, config.downloads).items():
            needs.append(
                Need(folder, size, f"to download and unpack in {folder}: {size / 1e9:.1f} GB")
            )
    if (
        config.encoder.name
        and not (layout.features / INDEX).exists()
        and (images := _images(layout))
    ):
        from dsacap.vision.encoders.load import shape_without_weights
        from dsacap.vision.features.encode import FeatureSize

        size = FeatureSize(
            images,
            config.encoder.views,
            *shape_without_weights(config.encoder.name, config.encoder.grid),
        )
        needs.append(Need(layout.root, size.bytes, f"features in {layout.root}: {size}"))
    looking = any(config.sees_pixels(system) for system in config.systems)
    if (
        looking
        and config.encoder.name
        and not (layout.pixels / INDEX).exists()
        and (images := _images(layout))
    ):
        from dsacap.vision.encoders.load import input_size
        from dsacap.vision.features.pixels import PixelSize

        pixels = PixelSize(images, *input_size(config.encoder.name))
        needs.append(Need(layout.root, pixels.bytes, f"pixels in {layout.root}: {pixels}"))
    return needs


def _images(layout: Layout) -> int:
    """As many as there are, or as are expected; 0 where nobody knows yet."""
    if (layout.data / "captions.jsonl").exists():
        return len(load_examples(layout.data))
    return sum((layout.config.dataset.expected or {}).values())
