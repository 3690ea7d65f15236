"""Signatures change with everything that changes the score, and with nothing else."""

import hashlib
from dataclasses import replace

import pytest

from dsacap.common.errors import UserError
from dsacap.scoring import signature as module
from dsacap.scoring.metrics.coco_metrics import METRICS
from dsacap.scoring.metrics.known_tuples import known_tuples_id
from dsacap.scoring.metrics.spice import ANNOTATORS, parser_id
from dsacap.scoring.signature import GIVEN, file_hash, scored_against, signature

REFERENCES = {7: ["a dog runs", "the dog"], 3: ["two cats"]}
BASE = scored_against(REFERENCES, split="test")


def test_the_fields_of_cider():
    fields = signature("CIDEr", BASE).split("|")
    assert [field.split(":")[0] for field in fields] == [
        "CIDEr-D",
        "df",
        "n",
        "sigma",
        "tok",
        "refs",
        "images",
        "split",
        "v",
    ]
    assert fields[:4] == ["CIDEr-D", "df:test-refs", "n:4", "sigma:6"]
    assert fields[4].startswith("tok:PTB-3.4.1@sha256:")
    assert fields[5].startswith("refs:sha256:") and fields[5].endswith("x3")
    assert fields[6:8] == ["images:2", "split:test"]


def test_signatures_of_published_results(monkeypatch):
    """These words decide which numbers are comparable; changing one changes published results."""
    monkeypatch.setattr(module, "version", {"dsacap-bench": "1.2"}.__getitem__)
    scored = scored_against({1: ["a dog", "the dog"], 2: ["a cat"]}, GIVEN, "val")
    references = hashlib.sha256(b'[1, ["a dog", "the dog"]]\n[2, ["a cat"]]\n').hexdigest()[:12]
    jars = f"jars:sha256:{parser_id()[:12]}|known:{known_tuples_id()}"
    meteor = "lang:en|norm:yes|jar:1.5@sha256:1e57b4c72c08|paraphrases:sha256:c147ac7d2c91"
    for metric, fixed in {
        "BLEU-4": "BLEU-4|len:closest|smooth:none|case:lower",
        "METEOR": f"METEOR|{meteor}",
        "ROUGE-L": "ROUGE-L|beta:1.2",
        "CIDEr": "CIDEr-D|df:test-refs|n:4|sigma:6",
        "Self-CIDEr": "Self-CIDEr|df:test-refs|n:4|kernel:CIDEr",
        "mBLEU-1": "mBLEU-1|refs-of:the other captions|mean:slots|len:closest|smooth:none",
        "Div-2": "Div-2|per:word|mean:images",
        "SPIDEr": f"SPIDEr|df:test-refs|n:4|sigma:6|corenlp:3.6.0|annotators:{ANNOTATORS}|{jars}",
        "SPICE-color": f"SPICE-color|corenlp:3.6.0|annotators:{ANNOTATORS}|{jars}",
        "true": "true",
    }.items():
        assert (
            signature(metric, scored)
            == f"{fixed}|tok:given|refs:sha256:{references}x3|images:2|split:val|v:1.2"
        )
    assert (
        signature("true", replace(scored, split=None), k=5)
        == f"true|k:5|tok:given|refs:sha256:{references}x3|images:2|v:1.2"
    )


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
    assert [signature(m, scored_against(turned, split="test")) for m in METRICS] == [
        signature(m, BASE) for m in METRICS
    ]


def test_metrics_differ():
    names = [*METRICS, "mBLEU-4", "Div-1", "Self-CIDEr"]
    assert len({signature(name, BASE) for name in names}) == len(names)


def test_changes_with_parameters_and_version(monkeypatch):
    assert signature("Div-1", BASE, k=5) != signature("Div-1", BASE, k=10)
    assert "df:train" in signature(
        "Self-CIDEr", BASE, k=5, df="train"
    ) and "test-refs" not in signature("Self-CIDEr", BASE, df="train")
    before = signature("CIDEr", BASE)
    monkeypatch.setattr(module, "version", lambda _: "9.9")
    assert signature("CIDEr", BASE) != before


def test_frequencies_of_other_captions_are_named():
    other = replace(BASE, frequencies="coco-val2014@sha256:0123456789ab")
    for metric in ("CIDEr", "Self-CIDEr", "SPIDEr"):
        assert "|df:coco-val2014@sha256:0123456789ab|" in signature(metric, other)
    assert signature("BLEU-4", other) == signature("BLEU-4", BASE)


def test_changes_with_the_jars(monkeypatch, tmp_path):
    before = scored_against(REFERENCES).tokenizer, signature("METEOR", BASE)
    jars = tmp_path / "meteor"
    (jars / "data").mkdir(parents=True)
    for path in (
        jars / "meteor-1.5.jar",
        jars / "data" / "paraphrase-en.gz",
        tmp_path / module.ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR,
    ):
        path.write_bytes(b"another")
    monkeypatch.setattr(module, "_METEOR", jars)
    monkeypatch.setattr(module.ptbtokenizer, "__file__", str(tmp_path / "ptbtokenizer.py"))
    assert scored_against(REFERENCES).tokenizer != before[0]
    assert signature("METEOR", BASE) != before[1]


def test_file_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "sha256:ba7816bf8f01"


def test_a_field_cannot_hold_the_separator():
    with pytest.raises(UserError, match=r"CIDEr: split 'a\|b' contains a \|"):
        signature("CIDEr", scored_against(REFERENCES, split="a|b"))
