import pytest

from dsacap.data.caption_files.ids import id_of_file_name, image_id, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("391895", 391895),
        ("391895.0", 391895),
        (391895.0, 391895),
        ("-12", -12),
        ("0391895", "0391895"),
        ("²", "²"),
        ("a.jpg", "a.jpg"),
        (18446744073709551623, 18446744073709551623),
        ("18446744073709551623", 18446744073709551623),
    ],
)
def test_ids_have_one_form(value, expected):
    assert image_id(value, "here") == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("COCO_val2014_000000391895.jpg", 391895),
        ("coco/images/val2014/COCO_val2014_000000391895.jpg", 391895),
        ("C:\\photos\\391895.JPG", 391895),
        ("1000268201_693b08cb0e.jpg", "1000268201_693b08cb0e"),
        ("photo 7.png", "photo 7"),
        (391895, 391895),
    ],
)
def test_ids_of_file_names(name, expected):
    assert id_of_file_name(name) == expected


def test_a_long_id_is_shown_without_its_middle():
    assert (shown(391895), shown("a.jpg")) == ("391895", "'a.jpg'")
    for long in ("x" * 5000, 10**99):
        assert len(shown(long)) <= 80 and "..." in shown(long)
