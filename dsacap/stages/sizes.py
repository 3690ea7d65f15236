"""What a configuration will take of the disk, told before anything is fetched or computed."""

from pathlib import Path

from dsacap.config import Scenes
from dsacap.data.dataset import load_examples
from dsacap.data.download import free_space
from dsacap.layout import Layout
from dsacap.stages.downloads import room_for_downloads


def predicted_sizes(layout: Layout) -> list[str]:
    """A line each for what is still to be downloaded and for features; none where all is generated and small."""
    config = layout.config
    if isinstance(config.dataset, Scenes):
        return []
    lines = []
    if config.dataset.downloads:
        needed = room_for_downloads(layout, config.downloads)
        lines += [f"to download and unpack in {folder}: {size / 1e9:.1f} GB; {_free(folder)}" for folder, size in needed.items()]
    if config.encoder.name and (images := _images(layout)):
        from dsacap.vision.encoder import shape_without_weights
        from dsacap.vision.encoding import FeatureSize

        size = FeatureSize(images, config.encoder.views, *shape_without_weights(config.encoder.name, config.encoder.grid))
        lines.append(f"features in {layout.root}: {size}; {_free(layout.root)}")
    return lines


def _images(layout: Layout) -> int:
    """As many as there are, or as are expected; 0 where nobody knows yet."""
    if (layout.data / "captions.jsonl").exists():
        return len(load_examples(layout.data))
    return sum((layout.config.dataset.expected or {}).values())


def _free(folder: Path) -> str:
    return f"{free_space(folder) / 1e9:.1f} GB free there"
