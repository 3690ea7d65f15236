from dsacap.data.photos import PhotoSource
from dsacap.data.photos_of_images import photos_of_images
from helpers import noise_photo


def found(folder, names, images, file_names=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise_photo((16, 16), 20).save(folder / name)
    return photos_of_images(PhotoSource(folder), images, file_names or {})


def test_a_photo_is_found_by_its_name_or_the_id_of_the_image(tmp_path):
    names = ("COCO_val2014_000000000001.jpg", "sub/2.png", "a.jpg", "b.jpg")
    (tmp_path / "2.txt").write_text("a note, and no photo")
    images = {1: 1, 2: 2, 3: "a.jpg", 4: "b", 5: "val2014/a b.jpg", 6: 6}
    by_image = found(tmp_path, names, images, {6: "val2014/b.jpg"})
    assert by_image == {1: names[0], 2: names[1], 3: names[2]}  # 4 and 6 would share b.jpg
    del images[6]
    assert found(tmp_path, names, images)[4] == "b.jpg"


def test_what_fits_several_photos_is_taken_for_none(tmp_path):
    names = ("x/1.jpg", "y/1.jpg", "y/2.jpg")
    assert found(tmp_path, names, {1: 1, 2: 2, 3: "x/1.jpg"}) == {2: "y/2.jpg", 3: "x/1.jpg"}
    # A photo of another folder is not taken where the right one is absent and it shows an image.
    files = {1: "y/2.jpg", 2: "x/2.jpg"}
    assert found(tmp_path, names, {1: "one", 2: "two"}, files) == {1: "y/2.jpg"}
