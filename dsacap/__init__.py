"""Benchmark and evaluation harness for DSACap and its rivals; and, by `load`, any of its trained systems for photos of one's own."""


def load(folder, device: str = "auto"):
    """The trained system in a folder that `dsacap export` wrote: `dsacap.load(folder).caption(["photo.jpg"])`.

    `device` is auto (a GPU where there is one), cpu or cuda. Returns a PhotoCaptioner (dsacap/export/photo_captioner.py); raises UserError,
    which names the file, where the folder is torn, changed or not such a folder.
    """
    from dsacap.common.machine import device_of
    from dsacap.export.reading import read_folder

    return read_folder(folder, device_of(device))
