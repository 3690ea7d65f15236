"""Finds the photos of images, where captions have ids and a folder or zip has files."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from dsacap.data.caption_files.ids import ImageId, id_of_file_name
from dsacap.data.photos import PhotoSource


def photos_of_images(
    source: PhotoSource, images: Mapping[int, ImageId], file_names: Mapping[int, str]
) -> dict[int, str]:
    """Return the path of each image's photo, for those that have one.

    A photo is found by the name that the references have for it, or else by the image's id: as a
    path, as a file name with or without a suffix, or as the number in a name such as
    COCO_val2014_000000391895.jpg. A name that fits several photos or images is ignored.

    Args:
        source: The photos.
        images: The id of each image by its number.
        file_names: The name of each image's photo by the image's number, where it is known.

    Returns:
        Paths in `source` by the images' numbers.
    """
    by_path: dict[int, str] = {}
    by_name: dict[int, str] = {}
    fitting: dict[ImageId, set[str]] = defaultdict(set)
    for path in source.contents().photos:
        for key in (PurePosixPath(path).stem, PurePosixPath(path).name, id_of_file_name(path)):
            fitting[key].add(path)
    unique = {key: paths.pop() for key, paths in fitting.items() if len(paths) == 1}
    for number, image in images.items():
        name = file_names.get(number, str(image))
        keys: tuple[ImageId, ...] = (name, PurePosixPath(name).name, image)
        if exact := source.path_of(name):
            by_path[number] = exact
        elif photo := next((unique[key] for key in keys if key in unique), None):
            by_name[number] = photo
    times = Counter([*by_path.values(), *by_name.values()])
    return by_path | {number: path for number, path in by_name.items() if times[path] == 1}
