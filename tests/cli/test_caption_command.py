"""`dsacap caption PHOTO...` as a user types it."""

import io
import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from PIL import Image

import dsacap
from dsacap.cli.main import main
from dsacap.common.files import read_json
from dsacap.data.photos import decode


@pytest.fixture
def run(exported, capsys, monkeypatch, tmp_path):
    """Run the command in an empty folder; return exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, by=("--from", exported)):
        code = main(["caption", *map(str, [*arguments, *by])])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def model(exported):
    return dsacap.load(exported)


def test_one_photo(run, model, photos):
    path = next(iter(photos))
    assert run(path) == (0, model.caption([path])[0][0] + "\n", "")
    assert (
        run(path, "--decoding", "drawn", "--samples", 3, "--seed", 5)[1].splitlines()
        == model.caption([path], "drawn", samples=3, seed=5)[0]
    )


def test_with_the_image_id_captions_are_those_of_the_stage(run, layout, photos):
    path, image_id = list(photos.items())[1]
    captions = run(path, "--decoding", "drawn", "--samples", 5, "--image-id", image_id)[
        1
    ].splitlines()
    assert captions == read_json(layout.captions("ours", 0))["drawn"][str(image_id)]
    assert (
        run(path, path, "--image-id", image_id)[2]
        == "error: --image-id: is the id of one photo, but 2 are given\n"
    )


def test_folders_zips_and_many_photos(run, model, photos, tmp_path):
    names = ["b/2.png", "b/a/1.PNG", "c.png"]
    for name, path in zip(names, photos, strict=False):
        (tmp_path / "shots" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "shots" / name)
    (tmp_path / "shots" / "notes.txt").write_text("no photo")
    (tmp_path / "shots" / ".hidden.png").write_text("no photo")
    captions = [caption[0] for caption in model.caption(list(photos)[:3])]
    by_name = dict(zip(names, captions, strict=True))
    assert run("shots") == (
        0,
        "".join(f"shots/{name}: {by_name[name]}\n" for name in sorted(names)),
        "shots: 1 left out as no photo: notes.txt\nshots: 1 left out as hidden: .hidden.png\n",
    )
    with zipfile.ZipFile(tmp_path / "shots.zip", "w") as archive:
        archive.write(tmp_path / "shots" / "c.png", "c.png")
    code, out, _ = run("shots.zip", "shots/c.png", "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [
        {"photo": "shots.zip/c.png", "captions": [by_name["c.png"]]},
        {"photo": "shots/c.png", "captions": [by_name["c.png"]]},
    ]


@pytest.mark.parametrize("as_zip", [False, True])
def test_photos_in_folders_are_told_by_content(run, model, photos, tmp_path, as_zip):
    image = Image.open(next(iter(photos))).convert("RGB")
    (tmp_path / "shots" / "album").mkdir(parents=True)
    kinds = {"a": "png", "album/b": "jpeg", "c.jfif": "jpeg", "d.x": "avif", "e.jp2": "jpeg2000"}
    for name, kind in kinds.items():
        image.save(tmp_path / "shots" / name, kind)
    (tmp_path / "shots" / "notes").write_text("BM is no bitmap")
    given = "shots"
    if as_zip:
        given = shutil.make_archive("shots", "zip", "shots")
        given = shutil.move(given, tmp_path / "download")  # without a suffix
    code, out, err = run(given, "--json")
    assert (code, err) == (0, f"{given}: 1 left out as no photo: notes\n")
    captions = model.caption([tmp_path / "shots" / name for name in kinds])
    assert [json.loads(line) for line in out.splitlines()] == [
        {"photo": f"{given}/{name}", "captions": texts}
        for name, texts in zip(kinds, captions, strict=True)
    ]
    for name, data in {"f.jpg": b"no photo", "g.jxl": b"no format that is read"}.items():
        (tmp_path / "shots" / name).write_bytes(data)
    (tmp_path / "shots" / "h").write_bytes((tmp_path / "shots" / "album" / "b").read_bytes()[:300])
    code, _, err = run("shots")
    assert code == 1
    assert [line.split(": ")[0] for line in err.splitlines()[1:-1]] == [
        "shots/f.jpg",
        "shots/g.jxl",
        "shots/h",
    ]
    assert err.splitlines()[-1] == "error: 3 of 8 photos could not be captioned"


def test_linked_folders_are_entered_once_and_dangling_links_are_named(run, photos, tmp_path):
    photo = next(iter(photos))
    for folder in ("shots", "elsewhere"):
        (tmp_path / folder).mkdir()
        shutil.copy(photo, tmp_path / folder / "a.png")
    (tmp_path / "shots" / "linked").symlink_to("../elsewhere")
    (tmp_path / "shots" / "loop").symlink_to(".")
    (tmp_path / "elsewhere" / "back").symlink_to("../shots")
    code, out, err = run("shots")
    assert (code, [line.split(": ")[0] for line in out.splitlines()]) == (
        0,
        ["shots/a.png", "shots/linked/a.png"],
    )
    assert err == (
        "shots: 2 left out as a folder that is read under another name: linked/back, loop\n"
    )
    (tmp_path / "shots" / "gone.png").symlink_to("nowhere.png")
    code, out, err = run("shots")
    assert code == 1 and len(out.splitlines()) == 2
    assert "cannot read 'gone.png' (a link to a file that does not exist)" in err
    assert err.splitlines()[-1] == "error: 1 of 3 photos could not be captioned"


def test_a_folder_without_photos_is_an_error(run, tmp_path):
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots" / "notes.txt").write_text("no photo")
    code, out, err = run("shots")
    assert (code, out) == (1, "")
    assert err.splitlines()[:2] == [
        "shots: 1 left out as no photo: notes.txt",
        "shots: no photos in it",
    ]


def test_the_photos_of_the_survey(run, real_data):
    mixed = real_data / "scorer" / "photos" / "mixed"
    code, out, err = run(mixed)
    usable = ["noext", "p.avif", "photo.jfif", "plain.jpg"]
    assert [line.split(": ")[0] for line in out.splitlines()] == [f"{mixed}/{n}" for n in usable]
    assert code == 1  # the two HEIC files are the head of one, and noise
    assert [line.split(": ")[0] for line in err.splitlines()] == [
        f"{mixed}/IMG_0001.HEIC",
        f"{mixed}/IMG_0002.HEIC",
        "error",
    ]


def test_several_batches_show_progress_if_stdout_is_no_terminal(run, photos, monkeypatch):
    monkeypatch.setattr("dsacap.cli.caption.BATCH", 2)
    code, out, err = run(*photos)
    assert code == 0 and [line.split(": ")[0] for line in out.splitlines()] == [
        str(path) for path in photos
    ]
    assert "caption photos: 3/3" in err


def test_a_photo_on_standard_input(run, model, photos, monkeypatch):
    path = next(iter(photos))

    class Stdin:
        buffer = io.BytesIO(path.read_bytes())
        isatty = staticmethod(lambda: False)

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert run("-") == (0, model.caption([path])[0][0] + "\n", "")
    code, out, err = run("-")  # it was read to the end
    assert code == 1 and out == "" and err.startswith("standard input: empty file")
    Stdin.isatty = staticmethod(lambda: True)
    assert "standard input: is a terminal" in run("-")[2]


def odd_photos(folder, photo):
    """Write odd photos; return part of the message for each, or None if it can be captioned."""
    image = Image.open(photo).convert("RGB").resize((80, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("L").save(folder / "grey.png")
    Image.new("I;16", (80, 60), 40000).save(folder / "grey16.png")
    image.convert("RGBA").quantize(8).save(folder / "palette.png", transparency=0)
    image.save(folder / "whole.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-200])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no photo")
    image.resize((4, 4)).save(folder / "dot.png")
    Image.new("1", (12_000, 12_000)).save(folder / "huge.png")
    fine = dict.fromkeys(
        ("cmyk.jpg", "turned.jpg", "grey.png", "grey16.png", "palette.png", "whole.jpg")
    )
    bad = {
        "truncated.jpg": "truncated",
        "zero.jpg": "empty file",
        "text.jpg": "not an image",
        "dot.png": "4x4 pixels",
        "huge.png": "bomb",
    }
    return fine | bad


def test_odd_photos_are_decoded_as_in_preprocessing_and_bad_ones_are_skipped(
    run, model, photos, tmp_path
):
    expected = odd_photos(tmp_path, next(iter(photos)))
    code, out, err = run(*expected, "absent.jpg", "holiday.zip", "")
    fine = [name for name, message in expected.items() if message is None]
    assert code == 1 and [line.split(": ")[0] for line in out.splitlines()] == fine
    complaints = err.splitlines()
    for name, message in (
        expected
        | {
            "absent.jpg": "no such file",
            "holiday.zip": "no such folder or zip",
            "''": "an empty name",
        }
    ).items():
        assert message is None or any(
            line.startswith(f"{name}: ") and message in line for line in complaints
        ), name
    assert (
        complaints[-1]
        == f"error: {len(complaints) - 1} of {len(expected) + 3} photos could not be captioned"
    )
    upright = io.BytesIO()
    decode((tmp_path / "turned.jpg").read_bytes(), "x").save(upright, "png")
    assert (
        f"turned.jpg: {model.caption([upright.getvalue()], 'bigrams')[0][0]}"
        in run(*fine, "--decoding", "bigrams")[1].splitlines()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.jpg"], "name the system by which photos are captioned"),
        (["x.jpg", "--from", "a", "--system", "b"], "name the system by which photos"),
        (["--from", "a"], "no photos"),
        ([], "give photos and --from FOLDER"),
        (["--system", "ours", "--samples", "3"], "--samples needs photos"),
        (["--system", "ours", "--image-id", "0"], "--image-id needs photos"),
        (["x.jpg", "--from", "absent"], "absent: no such folder"),
        (["x.jpg", "--from", "."], "has no index.json"),
    ],
)
def test_options_that_exclude_each_other(run, arguments, message):
    code, out, err = run(*arguments, by=())
    assert (
        code == 1
        and out == ""
        and err.startswith("error: ")
        and message in err
        and "Traceback" not in err
    )


def test_options_of_the_system(run, photos):
    path = next(iter(photos))
    assert (
        run(path, "--decoding", "nose")[2]
        == "error: no decoding 'nose'; known: 'noise', 'drawn', 'bigrams'\n"
    )
    assert (
        "one caption per photo; for several, choose one that draws at random ('noise', 'drawn')"
        in run(path, "--decoding", "bigrams", "--samples", 2)[2]
    )
    assert "at least one caption" in run(path, "--samples", 0)[2]
    assert (
        "must not be negative" in run(path, "--seed", -1)[2]
        and "must not be negative" in run(path, "--image-id", -1)[2]
    )


def test_a_system_of_the_run(run, layout, model, photos, tmp_path, capsys):
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(layout.config.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    )
    path = next(iter(photos))
    by = ("--config", "c.yaml", "--system", "ours")
    assert run(path, by=by) == run(path)
    assert (
        "no system 'outs' with seed 0; known: ours (seed 0)" in run(path, by=(*by[:3], "outs"))[2]
    )
    assert (
        main(["export", *by, "carried"]) == 0 and "exported to carried" in capsys.readouterr().out
    )
    assert run(path, by=("--from", "carried")) == run(path)
    assert main(["export", *by, "carried"]) == 1 and "exists already" in capsys.readouterr().err


def test_a_closed_pipe_is_no_error(exported, photos):
    command = [sys.executable, "-m", "dsacap.cli", "caption", *photos, *photos, "--from", exported]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 0)
