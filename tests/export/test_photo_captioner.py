"""Photos in every form that Python has them in: paths, bytes, images of Pillow and arrays."""

import io

import numpy as np
import pytest
from PIL import Image

import dsacap
from dsacap.data.photo_pixels import BadImage
from dsacap.data.photos import decode
from helpers import noise_photo


@pytest.fixture(scope="module")
def model(exported):
    return dsacap.load(exported)


def test_images_and_arrays_get_the_captions_of_their_files(model, photos):
    paths = list(photos)
    expected = model.caption(paths, "bigrams")
    images = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(image) for image in images]
    assert model.caption(images, "bigrams") == expected
    assert model.caption(arrays, "bigrams") == expected
    assert model.caption(np.stack(arrays), "bigrams") == expected
    mixed = [paths[0], images[1], *arrays[2:], str(paths[0]), paths[1].read_bytes()]
    assert model.caption(mixed, "bigrams") == [*expected, expected[0], expected[1]]


def test_draws_depend_on_the_pixels_or_the_id_given(model, photos):
    (path, image_id), *_ = photos.items()
    image = Image.open(path).convert("RGB")

    def drawn(photo, **options):
        return model.caption([photo], "drawn", samples=5, **options)

    assert drawn(image) == drawn(np.asarray(image)) == drawn(image.copy())
    assert drawn(image, image_ids=[image_id]) == drawn(path, image_ids=[image_id])


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("1", {}),
        ("CMYK", {"format": "tiff"}),
        ("RGBA", {}),
        ("P", {"transparency": 3}),
        ("I;16", {"transparency": 0x4040}),
        ("RGB", {"turned": True}),
        ("RGB", {"format": "avif"}),
    ],
)
def test_images_of_every_mode_are_read_as_their_files(model, monkeypatch, mode, options, lazily):
    levels = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    levels[:20] = 0x40
    options = dict(options)
    if mode == "I;16":
        image = Image.fromarray(levels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(levels).convert("RGB").convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(levels[..., 3]))
    if options.pop("turned", False):
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "png", **options})
    opened = Image.open(buffer)
    if not lazily:
        opened.load()
    seen = []
    monkeypatch.setattr(model.encoder, "preprocess", lambda photo: seen.append(photo) or model)
    monkeypatch.setattr(model, "caption_prepared", lambda photos, *_, **__: photos)
    before = (opened.mode, opened.size, opened.info.get("transparency"))
    model.caption([opened])
    assert seen[0].tobytes() == decode(buffer.getvalue(), "x").tobytes()
    assert (opened.mode, opened.size, opened.info.get("transparency")) == before


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 3), (40, 60, 4)])
def test_arrays_of_grey_rgb_and_rgba(model, monkeypatch, shape):
    seen = []
    monkeypatch.setattr(model.encoder, "preprocess", lambda photo: seen.append(photo) or model)
    monkeypatch.setattr(model, "caption_prepared", lambda photos, *_, **__: photos)
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    array[..., 3:] = 0  # transparent throughout
    model.caption([array, array[:, ::-1]])
    shown, mirrored = map(np.asarray, seen)
    expected = 255 if shape[-1] == 4 else array if array.ndim == 3 else array[:, :, None]
    np.testing.assert_array_equal(shown, np.broadcast_to(expected, (40, 60, 3)))
    np.testing.assert_array_equal(mirrored, shown[:, ::-1])


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((3, 40, 60), np.uint8), r"an array of uint8 in the shape \(3, 40, 60\); give"),
        (np.zeros((40, 60, 3), np.float32), "an array of float32 in the shape"),
        (np.zeros((40, 60, 3), np.int64), "an array of int64"),
        (np.zeros((40, 60), bool), "an array of bool"),
        (np.zeros(7, np.uint8), "an array of uint8"),
        (np.array(None), "an array of object"),
        (np.zeros((0, 60, 3), np.uint8), "an array without pixels"),
        (np.zeros((4, 60, 3), np.uint8), "60x4 pixels; each side needs at least 8"),
        (Image.new("RGB", (4, 60)), "4x60 pixels"),
        (Image.new("F", (40, 60)), "grey levels beyond 16 bits, of unknown range"),
    ],
)
def test_unusable_images_and_arrays_are_refused(model, photos, photo, message):
    with pytest.raises(BadImage, match=rf"^photos\[1\]: {message}"):
        model.caption([next(iter(photos)), photo])


def test_a_truncated_image_is_refused(model):
    buffer = io.BytesIO()
    noise_photo((64, 64), 50).save(buffer, "png")
    opened = Image.open(io.BytesIO(buffer.getvalue()[:1000]))
    with pytest.raises(BadImage, match=r"photos\[0\]: an image that cannot be read \(.*truncated"):
        model.caption([opened])
    with pytest.raises(BadImage, match=r"^photos\[0\]: truncated or damaged"):
        model.caption([buffer.getvalue()[:1000]])


@pytest.mark.parametrize("photo", [None, 7, io.BytesIO(b"x"), ["photo.jpg"]])
def test_other_types_are_named(model, photo):
    with pytest.raises(
        TypeError, match=rf"photos\[0\] is of the type {type(photo).__name__}; give"
    ):
        model.caption([photo])


@pytest.mark.parametrize(
    "photo", ["a.jpg", b"x", Image.new("RGB", (9, 9)), np.zeros((9, 9, 3), np.uint8)]
)
def test_a_single_photo_is_no_list(model, photo):
    with pytest.raises(TypeError, match=r"photos must be a list of photos, such as \['"):
        model.caption(photo)
