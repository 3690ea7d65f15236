"""Tuples that are shipped with the package: only those of the parser in use are used."""

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dsacap.common.git_checkout import ROOT
from dsacap.scoring.metrics import build_known_tuples, known_tuples, spice
from dsacap.scoring.metrics.known_tuples import read_known_tuples, write_known_tuples
from dsacap.scoring.metrics.spice import caption_tuples, parser_key, tuple_sources
from dsacap.scoring.signature import scored_against, signature

TUPLES = {
    "a red dog": [["dog", "red"], ["dog"]],
    "un café 🐕": [["café"]],
    "line\ttab": [],
    "a dog": [["dog"]],
}
OTHERS = {f"caption {n}": [[str(n)]] for n in range(5000)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of shipped files that contains one, of the parser in use."""
    folder = tmp_path / "known"
    write_known_tuples(folder / "one.tuples", TUPLES, parser_key(), "made up")
    monkeypatch.setattr(known_tuples, "FOLDER", folder)
    return folder


def test_what_is_shipped_is_found(folder):
    assert known_tuples.known_tuples([*TUPLES, "a cat"], parser_key()) == TUPLES
    assert known_tuples.known_tuples([], parser_key()) == {}


def test_files_of_another_parser_are_not_used(folder):
    assert known_tuples.known_tuples(TUPLES, f"{parser_key()}, and more") == {}


@pytest.mark.parametrize("at", [0, 20, -1, -40, None])
def test_a_damaged_file_is_not_used_and_named(folder, at, capfd):
    """One bit is flipped, or the file is cut off."""
    path = folder / "one.tuples"
    data = bytearray(path.read_bytes())
    if at is None:
        del data[-9:]
    else:
        data[at] ^= 1
    path.write_bytes(data)
    assert known_tuples.known_tuples(TUPLES, parser_key()) == {}
    assert known_tuples.known_tuples(TUPLES, parser_key()) == {}
    warnings = capfd.readouterr().err.count(f"warning: {path}: damaged")
    assert warnings == (0 if at == 20 else 1)  # byte 20 is in the parser's hash


def test_only_files_that_hold_a_caption_are_unpacked(folder, monkeypatch):
    write_known_tuples(folder / "two.tuples", OTHERS, parser_key(), "made up")
    assert known_tuples.known_tuples(TUPLES, parser_key()) == TUPLES
    monkeypatch.setattr(known_tuples.lzma, "decompress", lambda packed: pytest.fail("unpacked"))
    assert known_tuples.known_tuples([*TUPLES, "a cat"], parser_key()) == TUPLES


def test_cache_first_then_what_is_shipped_then_the_parser(folder, java, monkeypatch):
    """The fake parser's tuples differ from those that are shipped."""
    caption_tuples(["a dog"], False, java, use_known=False)
    assert java.parsed == ["a dog"]
    with tuple_sources() as sources:
        found = caption_tuples(["a dog", "a red dog", "a cat"], False, java)
    assert found == {
        "a dog": [["a"], ["dog"]],
        "a red dog": TUPLES["a red dog"],
        "a cat": [["a"], ["cat"]],
    }
    assert java.parsed == ["a dog", "a cat"]
    assert sources == {"a dog": "cache", "a red dog": "shipped", "a cat": "parsed"}
    with tuple_sources() as sources:  # what was shipped is not copied into the cache
        caption_tuples(found, False, java)
        caption_tuples(found, False, java)
    assert sources == {"a dog": "cache", "a red dog": "shipped", "a cat": "cache"}


def test_the_parser_is_not_loaded_if_all_is_known(folder, java, monkeypatch):
    monkeypatch.setattr(spice, "corenlp_jars", lambda download: pytest.fail("asked for the parser"))
    assert caption_tuples(TUPLES, False) == TUPLES


def test_a_build_gives_the_same_bytes_and_asks_the_parser(folder, java, tmp_path, monkeypatch):
    monkeypatch.setattr(spice, "parser_workers", lambda: (java,))
    captions = [*TUPLES, "", "dog " * 101, *TUPLES]
    built = [tmp_path / name for name in ("first", "second")]
    assert build_known_tuples.build(built[0], captions, "made up") == len(TUPLES)
    assert build_known_tuples.build(built[1], captions[::-1], "made up") == len(TUPLES)
    assert built[0].read_bytes() == built[1].read_bytes()
    file = read_known_tuples(built[0])
    assert file.captions() == sorted(TUPLES) and file.source == "made up"
    assert file.look_up(["a red dog"]) == {"a red dog": [["a"], ["red"], ["dog"]]}


def test_the_command_tokenises_references(folder, java, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(spice, "parser_workers", lambda: (java,))
    references = tmp_path / "captions.json"
    annotation = {"id": 1, "image_id": 1, "caption": "A cat, a mat."}
    image = {"id": 1, "file_name": "1.jpg"}
    references.write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    options = ["--references", str(references), "--source", "made up", "--folder", str(folder)]
    build_known_tuples.main(["new", *options])
    assert read_known_tuples(folder / "new.tuples").captions() == ["a cat a mat"]
    assert "new.tuples: 1 captions" in capsys.readouterr().out


def test_the_signature_names_what_is_shipped_and_not_what_was_parsed(folder, java):
    scored = scored_against({1: ["a dog"], 2: ["a cat"]})
    before = signature("SPICE", scored)
    caption_tuples(["a bird"], False, java)
    assert signature("SPICE", scored) == before
    assert f"|known:{known_tuples.known_tuples_id()}|" in before
    known_tuples._id_of.cache_clear()
    write_known_tuples(folder / "two.tuples", OTHERS, parser_key(), "made up")
    assert signature("SPICE", scored) != before


# ---------------------------------------------------------------------------- what is shipped

SHIPPED = sorted(known_tuples.FOLDER.glob(f"*{known_tuples.SUFFIX}"))


def test_there_are_files_of_the_parser_that_is_used():
    assert "scenes-test.tuples" in [path.name for path in SHIPPED]
    for path in SHIPPED:
        assert read_known_tuples(path).parser == parser_key() and read_known_tuples(path).source


def test_they_are_installed(tmp_path):
    """A wheel of this package contains them."""
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    source = tmp_path / "source"
    for part in ("dsacap/scoring", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        (source / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, source / part)
    (source / "dsacap" / "__init__.py").touch()
    command = [sys.executable, "-c", build, str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        known = "dsacap/scoring/metrics/known/"
        names = [name for name in opened.namelist() if name.startswith(known)]
        packed = {name: opened.read(name) for name in names}
    files = known_tuples.FOLDER.iterdir()  # frequencies are there too
    assert packed == {f"{known}{path.name}": path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: Path(path).stem)
def test_they_are_what_the_parser_makes(path, new_cache):
    """Parse captions drawn by a seed: $DSACAP_KNOWN_CAPTIONS of them (200), 0 for all."""
    file = read_known_tuples(path)
    captions, number = file.captions(), int(os.environ.get("DSACAP_KNOWN_CAPTIONS", "200"))
    sample = random.Random(0).sample(captions, min(number, len(captions)))
    drawn = sample if number else captions
    assert caption_tuples(drawn, False, use_known=False) == file.look_up(drawn)
