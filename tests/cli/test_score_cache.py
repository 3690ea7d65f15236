"""`dsacap score` of files that were scored before."""

import pytest

from dsacap.cli import score as evaluate
from dsacap.common.files import read_json
from dsacap.scoring import result_cache
from score_fixtures import COCO, run, run_score

pytestmark = pytest.mark.usefixtures("no_corenlp")


def test_a_scored_file_is_read_from_the_cache(files, capsys, monkeypatch):
    folder, predictions, references, _ = files
    assert run_score(predictions, "--references", references, "--json", folder / "a.json") == 0
    first = capsys.readouterr()
    monkeypatch.setattr(evaluate, "score_inputs", None)  # a call would fail
    assert run_score(predictions, "--references", references, "--json", folder / "b.json") == 0
    second = capsys.readouterr()
    assert (
        second.out == first.out
        and "scored before" in second.err
        and "scored before" not in first.err
    )
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()


def test_changed_files_or_settings_are_scored_again(files, capsys):
    _, predictions, references, write = files
    assert run_score(predictions, "--references", references) == 0
    assert run_score(predictions, "--references", references, "--train", references) == 0
    assert run("score", predictions, "--references", references) == 0
    assert run_score(predictions, "--references", write("again.json", {**COCO, "licence": 1})) == 0
    other = [*read_json(predictions)[:2], {"image_id": 3, "caption": "bird"}]
    assert run_score(write("other.json", other), "--references", references) == 0
    assert "scored before" not in capsys.readouterr().err


def test_changed_code_scores_again(files, capsys, monkeypatch):
    _, predictions, references, _ = files
    assert run_score(predictions, "--references", references) == 0
    monkeypatch.setattr(result_cache, "version", lambda _: "another")
    assert run_score(predictions, "--references", references) == 0
    assert "scored before" not in capsys.readouterr().err


def test_every_damaged_byte_is_noticed(files, capsys):
    folder, predictions, references, _ = files
    assert run_score(predictions, "--references", references) == 0
    entry = next((folder / "cache" / "scores").iterdir())
    sound, printed = entry.read_bytes(), capsys.readouterr().out
    for place in (0, 64, 65, len(sound) // 2, len(sound) - 1):
        entry.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        assert run_score(predictions, "--references", references) == 0
        again = capsys.readouterr()
        assert again.out == printed and "damaged" in again.err and entry.read_bytes() == sound
    entry.write_bytes(sound[:100])
    assert run_score(predictions, "--references", references) == 0
    assert "damaged" in capsys.readouterr().err


def test_scores_do_not_need_a_writable_cache(files, capsys, monkeypatch):
    folder, predictions, references, _ = files
    (folder / "file").write_text("")
    monkeypatch.setenv("DSACAP_CACHE", str(folder / "file"))
    assert run_score(predictions, "--references", references) == 0
    printed = capsys.readouterr()
    assert "CIDEr" in printed.out and "not kept" in printed.err
