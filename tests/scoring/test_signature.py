"""Signatures change with whatever moves the score, and with nothing else."""

import pytest

from dsacap.errors import UserError
from dsacap.scoring import signature as module
from dsacap.scoring.coco_metrics import METRICS
from dsacap.scoring.signature import GIVEN, file_hash, scored_against, signature

REFERENCES = {7: ["a dog runs", "the dog"], 3: ["two cats"]}
BASE = scored_against(REFERENCES, split="test")


def test_of_cider():
    fields = signature("CIDEr", BASE).split("|")
    assert [field.split(":")[0] for field in fields] == ["CIDEr-D", "df", "n", "sigma", "tok", "refs", "images", "split", "v"]
    assert fields[:4] == ["CIDEr-D", "df:test-refs", "n:4", "sigma:6"]
    assert fields[4].startswith("tok:PTB-3.4.1@sha256:")
    assert fields[5].startswith("refs:sha256:") and fields[5].endswith("x3")
    assert fields[6:8] == ["images:2", "split:test"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "other",
    [
        scored_against(REFERENCES | {3: ["two dogs"]}, split="test"),
        scored_against(REFERENCES | {3: ["two", "cats"]}, split="test"),
        scored_against({7: REFERENCES[7], 4: REFERENCES[3]}, split="test"),
        scored_against({7: REFERENCES[3], 3: REFERENCES[7]}, split="test"),
        scored_against({7: REFERENCES[7]}, split="test"),
        scored_against(REFERENCES, GIVEN, split="test"),
        scored_against(REFERENCES, split="val"),
        scored_against(REFERENCES),
    ],
)
def test_changes_with_what_is_scored_against(metric, other):
    assert signature(metric, other) != signature(metric, BASE)


def test_does_not_change_with_order():
    turned = {3: REFERENCES[3], 7: REFERENCES[7][::-1]}
    assert [signature(m, scored_against(turned, split="test")) for m in METRICS] == [signature(m, BASE) for m in METRICS]


def test_metrics_differ():
    names = [*METRICS, "mBLEU-4", "Div-1", "Self-CIDEr"]
    assert len({signature(name, BASE) for name in names}) == len(names)


def test_changes_with_parameters_and_version(monkeypatch):
    assert signature("Div-1", BASE, k=5) != signature("Div-1", BASE, k=10)
    assert "df:train" in signature("Self-CIDEr", BASE, k=5, df="train") and "test-refs" not in signature("Self-CIDEr", BASE, df="train")
    before = signature("CIDEr", BASE)
    monkeypatch.setattr(module, "version", lambda _: "9.9")
    assert signature("CIDEr", BASE) != before


def test_changes_with_the_jars(monkeypatch, tmp_path):
    before = scored_against(REFERENCES).tokenizer, signature("METEOR", BASE)
    jars = tmp_path / "meteor"
    (jars / "data").mkdir(parents=True)
    for path in (jars / "meteor-1.5.jar", jars / "data" / "paraphrase-en.gz", tmp_path / module.ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR):
        path.write_bytes(b"another")
    monkeypatch.setattr(module, "_METEOR", jars)
    monkeypatch.setattr(module.ptbtokenizer, "__file__", str(tmp_path / "ptbtokenizer.py"))
    assert scored_against(REFERENCES).tokenizer != before[0]
    assert signature("METEOR", BASE) != before[1]


def test_file_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "sha256:ba7816bf8f01"


def test_a_field_cannot_hold_the_separator():
    with pytest.raises(UserError, match=r"CIDEr: split 'a\|b' holds a \|"):
        signature("CIDEr", scored_against(REFERENCES, split="a|b"))
