"""The text of COCO 2014 at full size.

All captions are in a jar of pycocoevalcap, and the split is Karpathy's.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pycocoevalcap
import pytest

from dsacap.common.files import read_json, write_json
from dsacap.config.experiment import load_config
from dsacap.data.coco import hash_of_ids
from dsacap.data.prepared import load_examples, load_vocabulary
from dsacap.runs.layout import HUMAN, Layout
from dsacap.stages.data import make_data
from dsacap.stages.score import score_system
from dsacap.training.cider_reward import CiderDReward

ROOT = Path(__file__).resolve().parents[2]
YEARS = ("train2014", "val2014")


def jar_captions(year: str) -> bytes:
    jar = Path(next(iter(pycocoevalcap.__path__))) / "spice" / "spice-1.0.jar"
    with zipfile.ZipFile(jar) as opened:
        return opened.read(f"coco/annotations/captions_{year}.json")


def karpathy_names(real_data: Path) -> dict[str, list[str]]:
    return {
        split: (real_data / "coco" / f"karpathy_{split}_names.txt").read_text().split()
        for split in ("restval", "val", "test")
    }


def ids(names: Iterable[str]) -> list[int]:
    return [int(name.removesuffix(".jpg")[-12:]) for name in names]


def test_the_ids_that_the_configuration_expects_are_karpathys(real_data):
    names = karpathy_names(real_data)
    train = [image["id"] for image in json.loads(jar_captions("train2014"))["images"]] + ids(
        names["restval"]
    )
    expected = load_config(ROOT / "config" / "coco.yaml").dataset
    assert expected.expected == {
        "train": len(train),
        "val": len(names["val"]),
        "test": len(names["test"]),
    }
    assert expected.expected_ids == {
        "train": hash_of_ids(train),
        "val": hash_of_ids(ids(names["val"])),
        "test": hash_of_ids(ids(names["test"])),
    }


@pytest.fixture(scope="module")
def layout(real_data, tmp_path_factory) -> Layout:
    """The stage `data` on all of COCO, with empty files in place of photos."""
    folder = tmp_path_factory.mktemp("coco")
    names = {year: [] for year in YEARS}
    for year in YEARS:
        content = jar_captions(year)
        (folder / f"captions_{year}.json").write_bytes(content)
        names[year] = [image["file_name"] for image in json.loads(content)["images"]]
        with zipfile.ZipFile(folder / f"{year}.zip", "w") as archive:
            for name in names[year]:
                archive.writestr(f"{year}/{name}", b"")
    split_of = {name: split for split, part in karpathy_names(real_data).items() for name in part}
    records = [
        {
            "filename": name,
            "filepath": year,
            "cocoid": ids([name])[0],
            "split": split_of.get(name, "train"),
        }
        for year in YEARS
        for name in names[year]
    ]
    write_json(folder / "dataset_coco.json", {"dataset": "coco", "images": records})
    config = load_config(ROOT / "config" / "coco.yaml")
    places = {
        "annotations": tuple(folder / f"captions_{year}.json" for year in YEARS),
        "images": {year: folder / f"{year}.zip" for year in YEARS},
        "karpathy": folder / "dataset_coco.json",
    }
    scoring = config.scoring.model_copy(update={"spice": "off"})
    layout = Layout(
        config.model_copy(
            update={
                "work": folder / "work",
                "dataset": config.dataset.model_copy(update=places),
                "scoring": scoring,
            }
        )
    )
    write_json(layout.data / "facts.json", make_data(layout))
    return layout


@pytest.mark.slow
def test_prepared(layout):
    facts = read_json(layout.data / "facts.json")
    assert (
        facts["images"] == {"train": 113_287, "val": 5_000, "test": 5_000} and facts["dropped"] == 0
    )
    assert facts["captions"] == 616_767
    # Words that occur at least 5 times.
    assert facts["vocabulary"] == len(load_vocabulary(layout.data)) == 10_102
    assert facts["words_a_caption"] == {"mean": 10.47, "max": 50}


@pytest.mark.slow
def test_document_frequencies_of_the_train_split(layout):
    """The document frequencies of the CIDEr reward equal a plain count."""
    references = [
        [caption for caption in example.tokens if caption]
        for example in load_examples(layout.data, "train")
    ]
    frequencies = CiderDReward(references).frequencies
    assert frequencies.images == 113_287
    assert [len(keys) for keys in frequencies.keys] == [28_601, 392_523, 1_145_668, 1_948_505]
    for first, second in zip(references[0][0].split(), references[0][0].split()[1:], strict=False):
        word = np.searchsorted(frequencies.keys[0], frequencies.words[first])
        pair = np.searchsorted(
            frequencies.keys[1], word * len(frequencies.words) + frequencies.words[second]
        )
        for idf, phrase in (
            (frequencies.idf[0][word], f" {first} "),
            (frequencies.idf[1][pair], f" {first} {second} "),
        ):
            images = sum(
                any(phrase in f" {caption} " for caption in captions) for captions in references
            )
            assert images > 0 and idf == pytest.approx(np.log(len(references) / images), abs=1e-9)


@pytest.mark.slow
def test_human_row(layout):
    """Each reference is scored against the other four.

    The scores of humans on COCO's server, against five references (protocol c5 of Chen et al.
    2015), are close: BLEU-4 .217, METEOR .252, ROUGE-L .484, CIDEr .854.
    """
    score_system(layout, HUMAN, 0)
    scores = read_json(layout.scores(HUMAN, 0))["references"]
    held_out = {
        name: round(score["value"], 4)
        for name, score in scores["held_out"].items()
        if "value" in score
    }
    assert (
        held_out.items()
        >= {
            "BLEU-1": 0.6291,
            "BLEU-4": 0.1946,
            "METEOR": 0.2415,
            "ROUGE-L": 0.467,
            "CIDEr": 0.878,
        }.items()
    )
    train = {
        caption for example in load_examples(layout.data, "train") for caption in example.tokens
    }
    test = [
        caption
        for example in load_examples(layout.data, "test")
        for caption in example.tokens[:5]
        if caption
    ]
    novel = 1 - sum(caption in train for caption in test) / len(test)
    assert (
        scores["diversity"]["novel"]["value"]
        == pytest.approx(novel, abs=1e-4)
        == pytest.approx(0.9445, abs=1e-4)
    )
    assert scores["diversity"]["vocabulary"]["value"] == 7_399
