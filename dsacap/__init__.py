"""Benchmark and evaluation harness for DSACap and its rivals in image captioning.

`load` captions photos of your own with any system that the benchmark has trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dsacap.export.photo_captioner import PhotoCaptioner


def load(folder: str | Path, device: str = "auto") -> PhotoCaptioner:
    """Load a trained system, with its image encoder, from a folder that `dsacap export` wrote.

    Args:
        folder: The exported folder. Its files are checked against their recorded hashes first, and
            no code in it is executed.
        device: Where to compute: `auto` (a GPU if there is one), `cpu` or `cuda`.

    Returns:
        The captioner of photos; see its method `caption`.

    Raises:
        UserError: The folder was not written by `dsacap export`, or a file in it, which the message
            names, is missing, damaged or changed.

    Example:
        ```py
        import dsacap

        captioner = dsacap.load("exported/dsacap")
        captioner.caption(["photo.jpg"])
        ```
    """
    from dsacap.common.machine import device_of
    from dsacap.export.reading import read_folder

    return read_folder(Path(folder), device_of(device))
