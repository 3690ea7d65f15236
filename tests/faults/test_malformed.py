"""Ten thousand malformed inputs: each is accepted, or refused by a message that names the file.

There is no traceback and no hang, an accepted input is read as a plain reader reads it, and no file
is lost or written. Captions to be scored are tried in test_caption_files.py.

    pytest tests/faults -m faults -k malformed --inputs 10000
"""

import contextlib
import csv
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from malformed import bent, pictures, png_is_sound, torn, zips
from PIL import Image
from trial import contents

from dsacap.common import git_checkout
from dsacap.common.errors import UserError
from dsacap.config.experiment import load_config
from dsacap.data.coco import load_coco, read_captions, read_split
from dsacap.data.download.archives import extract
from dsacap.data.photos import PhotoSource, decode
from dsacap.export.reading import read_folder
from exports import listed_again
from handmade import HandMade

ROOT = Path(__file__).resolve().parents[2]
COCO = {
    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(1, 5)],
    "annotations": [
        {"id": 10 * i + k, "image_id": i, "caption": f"A dog, {k} of {i}."}
        for i in range(1, 5)
        for k in range(2)
    ],
}
SPLIT = {
    "images": [
        {
            "filename": f"{i}.jpg",
            "filepath": "photos",
            "cocoid": i,
            "split": split,
            "sentences": [{"raw": "a dog"}],
        }
        for i, split in enumerate(("train", "restval", "val", "test"), 1)
    ]
}


def as_json(tree) -> st.SearchStrategy[bytes]:
    """A tree that was changed, or its text damaged."""
    return bent(tree).map(lambda data: json.dumps(data).encode()) | torn(json.dumps(tree).encode())


@pytest.mark.faults
def test_malformed_annotations(tried):
    def body(trial, data):
        path = trial.write("captions.json", data)
        trial.command("validate", path, named=path)
        found = trial.call(read_captions, [path], named=path)
        if found:
            plain = json.loads(data)
            expected = {image["id"]: (image["file_name"], []) for image in plain["images"]}
            for annotation in sorted(plain["annotations"], key=lambda one: one["id"]):
                expected[annotation["image_id"]][1].append(annotation["caption"])
            assert {i: (one.file_name, list(one.captions)) for i, one in found.items()} == expected

    tried(as_json(COCO), 0.12, body)


@pytest.mark.faults
def test_malformed_splits(tried):
    def body(trial, data):
        annotations, path = (
            trial.write("captions.json", json.dumps(COCO).encode()),
            trial.write("dataset.json", data),
        )
        photos = trial.folder / "photos"
        for i in range(1, 5):
            trial.write(f"photos/{i}.jpg", b"")
        trial.command("validate", path, named=path)
        found = trial.call(read_split, path, named=path)
        if found:
            assert found == {_id(one): one["split"] for one in json.loads(data)["images"]}
        loaded = trial.call(load_coco, [annotations], {"photos": photos}, path, named=path)
        if loaded:
            plain = {
                _id(one): one["split"].replace("restval", "train")
                for one in json.loads(data)["images"]
            }
            assert {image.image_id: image.split for image in loaded[0]} == plain

    tried(as_json(SPLIT), 0.12, body)


def _id(record: dict) -> int:
    return (
        record["cocoid"]
        if record.get("cocoid") is not None
        else record.get("imgid") or int(record["filename"].removesuffix(".jpg"))
    )


@pytest.mark.faults
def test_malformed_photos(tried):
    def body(trial, data):
        path = trial.write("photos/photo.img", data)
        if trial.command("validate", path.parent, named=path):
            plain = Image.open(io.BytesIO(data))
            assert plain.format != "PNG" or png_is_sound(data), "a flipped bit would go unnoticed"
            if (
                plain.mode in ("L", "RGB")
                and not plain.has_transparency_data
                and not plain.getexif()
            ):
                assert np.array_equal(
                    np.asarray(decode(data, "")), np.asarray(plain.convert("RGB"))
                )

    tried(pictures(), 0.15, body)


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_malformed_archives(tried):
    def body(trial, data):
        shutil.rmtree(trial.folder / "in", ignore_errors=True)
        trial.write("in/deep/data/a.json", b"{}")
        trial.write("in/deep/neighbour.json", b"{}")
        path, folder = trial.write("in/deep/data.zip", data), trial.folder / "in" / "deep" / "data"
        before = contents(trial.folder)
        with contextlib.suppress(UserError):
            PhotoSource(path).paths()
        trial.call(lambda: extract(path, folder) or True, named=folder)
        left = contents(trial.folder)
        assert {name: left.get(name) for name in before} == before, "a file was lost or overwritten"
        new = {
            name.removeprefix("in/deep/data/"): content
            for name, content in left.items()
            if name not in before
        }
        if new:
            with zipfile.ZipFile(path) as plain:
                whole = {
                    str(Path(one.filename)): plain.read(one)
                    for one in plain.infolist()
                    if not one.is_dir()
                }
            assert new == {name: content for name, content in whole.items() if name != "a.json"}

    tried(zips(), 0.15, body)


SMOKE = (ROOT / "config" / "smoke.yaml").read_bytes()
YAML = (
    b"!!python/object/apply:os.system [id]",
    b"2001-99-99",
    b"!!int 'x'",
    b"? [a]",
    b"<<: *x",
    b"0x_",
    b"!!binary '='",
    b"1_0",
    b"yes",
    b"steps: 1",
)
BOMB = b"a: &a [x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
)


@st.composite
def configurations(draw) -> bytes:
    match draw(st.sampled_from(("bent", "torn", "put", "bomb"))):
        case "bent":
            return json.dumps(draw(bent(yaml.safe_load(SMOKE)))).encode()
        case "torn":
            return draw(torn(SMOKE))
        case "put":
            lines = SMOKE.split(b"\n")
            at = draw(st.integers(0, len(lines) - 1))
            key = lines[at].partition(b":")[0]
            return b"\n".join(
                [
                    *lines[:at],
                    key + b": " + draw(st.sampled_from(YAML)),
                    *lines[at + draw(st.integers(0, 1)) :],
                ]
            )
        case _:
            return BOMB + b"systems: *%c\n" % draw(st.integers(97, 106)) + SMOKE


@pytest.mark.faults
def test_malformed_configurations(tried):
    def body(trial, data):
        path = trial.write("config.yaml", data)
        if trial.command("validate", path, named=path) and trial.command(
            "check", "--config", path, named=path
        ):
            unlike = list(
                _unlike(
                    json.loads(json.dumps(yaml.safe_load(data), default=str)),
                    load_config(path).model_dump(mode="json"),
                    "",
                )
            )
            assert not unlike, f"read differently from the file: {unlike}"

    tried(configurations(), 0.18, body)


def _unlike(written, read, where: str) -> Iterator[str]:
    """Yield the places where a configuration is read differently from what is written."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            yield from _unlike(value, read.get(key, "nothing"), f"{where}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for at, (one, other) in enumerate(zip(written, read, strict=True)):
            yield from _unlike(one, other, f"{where}[{at}]")
    elif isinstance(written, str) and str(Path(written)) == read:  # a//b is a/b
        return
    elif written != read or isinstance(written, bool) != isinstance(read, bool):
        yield f"{where}: {written!r} read as {read!r}"


@pytest.mark.faults
def test_malformed_tables(tried, tmp_path, monkeypatch):
    # Each question to git starts a process, and every input asks the same ones.
    monkeypatch.setattr(git_checkout, "git", cache(git_checkout.git))
    table = HandMade().write(tmp_path / "sound")
    rows = (table / "table.csv").read_bytes()
    manifests = json.loads((table / "table.json").read_text())

    def body(trial, spoilt):
        (trial.folder / "spoilt" / "table.csv").unlink(missing_ok=True)
        (trial.folder / "spoilt" / "table.json").unlink(missing_ok=True)
        path = trial.write(*spoilt)
        trial.command("diff", table, path, named=path)
        trial.command(
            "explain",
            path,
            "--system",
            "ar",
            "--decoding",
            "greedy",
            "--metric",
            "CIDEr",
            named=path,
        )

    of_csv = torn(rows) | st.builds(_csv_of, bent(list(csv.reader(io.StringIO(rows.decode())))))
    tried(
        st.tuples(st.just("spoilt/table.json"), as_json(manifests))
        | st.tuples(st.just("spoilt/table.csv"), of_csv),
        0.06,
        body,
    )


def _csv_of(rows) -> bytes:
    cells = [
        row if isinstance(row, list) else [row]
        for row in (rows if isinstance(rows, list) else [rows])
    ]
    buffer = io.StringIO()
    csv.writer(buffer).writerows(cells)
    return buffer.getvalue().encode("utf-8", "surrogatepass")


@pytest.mark.faults
def test_malformed_exported_folders(tried, exported):
    files = {path.name: path.read_bytes() for path in exported.iterdir() if path.is_file()}
    photo = io.BytesIO()
    Image.new("RGB", (64, 64)).save(photo, "PNG")

    def spoilt(name: str) -> st.SearchStrategy[tuple[str, bytes]]:
        data = files[name]
        return st.tuples(
            st.just(name), as_json(json.loads(data)) if name.endswith(".json") else torn(data)
        )

    def body(trial, one):
        name, data = one
        folder = trial.folder / "system"
        for each, content in (files | {name: data}).items():
            trial.write(f"system/{each}", content)
        if name != "index.json":
            listed_again(folder, name)
        before = contents(folder)
        model = trial.call(read_folder, folder, "cpu", named=folder)
        if model:
            captions = trial.call(lambda: model.caption([photo.getvalue()]), named=folder)
            assert captions is None or all(isinstance(caption, str) for [caption] in captions)
        assert contents(folder) == before

    tried(st.sampled_from(sorted(files)).flatmap(spoilt), 0.04, body)
