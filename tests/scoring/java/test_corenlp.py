import hashlib
import io
import zipfile

import pytest
import requests

from dsacap.common.errors import UserError
from dsacap.scoring.java import corenlp
from dsacap.scoring.java.corenlp import Jar, corenlp_jars

FROM_ZIP = corenlp._from_zip  # before the fixture below replaces it
CODE, MODELS = b"code" * 100, b"models" * 1000
NAMES = ["stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Pin two small files, and return $CORENLP_DIR and CoreNLP's folder in the cache.

    Every source fails unless a test replaces it.
    """
    monkeypatch.setattr(corenlp, "CODE", Jar("", len(CODE), hashlib.sha256(CODE).hexdigest()))
    monkeypatch.setattr(
        corenlp, "MODELS", Jar("models", len(MODELS), hashlib.sha256(MODELS).hexdigest())
    )
    monkeypatch.setattr(corenlp, "_from_maven", fails)
    monkeypatch.setattr(corenlp, "_from_zip", fails)
    monkeypatch.setenv("CORENLP_DIR", str(tmp_path / "given"))
    monkeypatch.setenv("DSACAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "given", tmp_path / "cache" / "corenlp-3.6.0"


def fails(jar, folder):
    raise requests.ConnectionError("no route to host")


def put(folder, code=CODE, models=MODELS):
    folder.mkdir(parents=True)
    for name, data in zip(NAMES, (code, models), strict=True):
        (folder / name).write_bytes(data)


def source(code=CODE, models=MODELS):
    def get(jar, folder):
        (folder / jar.name).write_bytes(models if jar.classifier else code)
        return folder / jar.name

    return get


def test_the_pins_name_the_files_of_maven():
    assert [corenlp.CODE.name, corenlp.MODELS.name] == NAMES


def test_corenlp_dir_comes_first(folders):
    for folder in folders:
        put(folder)
    assert corenlp_jars(download=False) == [folders[0] / name for name in NAMES]


def test_the_cache_comes_next(folders):
    put(folders[0], models=b"models" * 999 + b"MODELS")
    put(folders[1])
    assert corenlp_jars(download=False) == [folders[1] / name for name in NAMES]


def test_models_are_not_needed_for_scoring(folders):
    put(folders[1], models=b"")
    assert corenlp_jars(download=False, models=False) == [folders[1] / NAMES[0]]


def test_fetched_into_the_cache(folders, monkeypatch):
    monkeypatch.setattr(corenlp, "_from_maven", source())
    assert corenlp_jars(download=True) == [folders[1] / name for name in NAMES]
    assert sorted(path.name for path in folders[1].iterdir()) == sorted(NAMES)
    monkeypatch.setattr(corenlp, "_from_maven", fails)
    assert corenlp_jars(download=True) == corenlp_jars(download=False)


def test_wrong_bytes_are_refused_and_the_second_source_asked(folders, monkeypatch):
    monkeypatch.setattr(corenlp, "_from_maven", source(models=MODELS[:-1] + b"S"))
    with pytest.raises(UserError) as error:
        corenlp_jars(download=True)
    assert "its Maven coordinates (stanford-corenlp-3.6.0-models.jar: has sha256" in str(
        error.value
    )
    assert [path.name for path in folders[1].iterdir()] == NAMES[:1]  # the correct one is kept
    monkeypatch.setattr(corenlp, "_from_zip", source())
    assert corenlp_jars(download=True) == [folders[1] / name for name in NAMES]


def test_the_error_lists_what_was_tried_and_what_to_do(folders):
    put(folders[0], code=b"x")
    with pytest.raises(UserError) as error:
        corenlp_jars(download=True)
    given, home = folders
    assert str(error.value).split("\n") == [
        "SPICE: not computed (CoreNLP 3.6.0 and its models missing).",
        "  tried: $CORENLP_DIR (stanford-corenlp-3.6.0.jar: has 1 bytes, not 400),"
        f" {home} (stanford-corenlp-3.6.0.jar: absent; stanford-corenlp-3.6.0-models.jar: absent),"
        " its Maven coordinates (no route to host), nlp.stanford.edu (no route to host)",
        f"  fix:   place {NAMES[0]} and {NAMES[1]} in {given}, or run again with network access",
        "  BLEU, METEOR, ROUGE-L and CIDEr are not affected.",
    ]


def test_nothing_is_fetched_unasked(folders, monkeypatch):
    monkeypatch.delenv("CORENLP_DIR")
    monkeypatch.setattr(corenlp, "_from_maven", source())
    with pytest.raises(
        UserError, match=r"\$CORENLP_DIR \(not set\), .* download \(not requested\)"
    ):
        corenlp_jars(download=False)


class Response(io.BytesIO):
    """A response of requests."""

    headers = {}  # noqa: RUF012

    def raise_for_status(self):
        pass

    def iter_content(self, size):
        return iter(lambda: self.read(size), b"")


def test_the_authors_zip(folders, monkeypatch):
    data, asked = io.BytesIO(), []
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in zip(NAMES, (CODE, MODELS), strict=True):
            archive.writestr(f"stanford-corenlp-full-2015-12-09/{name}", content)
    monkeypatch.setattr(
        requests, "get", lambda url, **_: asked.append(url) or Response(data.getvalue())
    )
    folders[1].mkdir(parents=True)
    assert FROM_ZIP(corenlp.CODE, folders[1]).read_bytes() == CODE
    assert FROM_ZIP(corenlp.MODELS, folders[1]).read_bytes() == MODELS
    assert len(asked) == 1 and asked[0].startswith("https://")


@pytest.mark.parametrize("data", [b"<html>moved</html>", b""])
def test_a_file_that_is_no_zip_is_reported(folders, monkeypatch, data):
    monkeypatch.setattr(requests, "get", lambda url, **_: Response(data))
    monkeypatch.setattr(corenlp, "_from_zip", FROM_ZIP)
    with pytest.raises(UserError, match=r"nlp.stanford.edu \(File is not a zip file\)"):
        corenlp_jars(download=True)
