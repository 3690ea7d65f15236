"""CIDEr with the document frequencies of other captions, as coco-caption has it.

coco-caption reads "df" and "ref_len" from its file and then computes as stock pycocoevalcap does.
"""

import json
import random
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer as StockScorer
from pycocoevalcap.cider.cider_scorer import precook
from pycocoevalcap.spice import spice

from dsacap.common.errors import UserError
from dsacap.scoring.frequencies import frequencies_of, shipped_frequencies
from dsacap.scoring.metrics import build_known_frequencies, known_frequencies
from dsacap.scoring.metrics.coco_metrics import score_without_java
from dsacap.scoring.metrics.document_frequencies import DocumentFrequencies, document_frequencies
from dsacap.scoring.metrics.known_frequencies import (
    known_files,
    read_known_frequencies,
    write_known_frequencies,
)
from dsacap.text.ptb_tokenizer import ptb_tokenize

WORDS = ["a", "the", "dog", "dogs", "café", "カメラ", "x\u00a0y", "'s", "12", "🐕", "-lrb-"]


def captions(rng: random.Random, images: int) -> list[list[str]]:
    return [
        [" ".join(rng.choices(WORDS, k=rng.randint(0, 12))) for _ in range(rng.randint(1, 5))]
        for _ in range(images)
    ]


class OfLength(list):
    """A list that pretends to be longer, because stock CIDEr takes "ref_len" from the length."""

    def __init__(self, items: list, length: int):
        super().__init__(items)
        self._length = length

    def __len__(self) -> int:
        return self._length


def counted(corpus: list[list[str]]) -> Counter:
    return Counter(ngram for image in corpus for ngram in {g for c in image for g in precook(c)})


def stock_cider(
    references: list[list[str]], candidates: list[str], df: Counter, ref_len: int
) -> list[float]:
    scorer = StockScorer()
    for of_image, candidate in zip(references, candidates, strict=True):
        scorer += (candidate, of_image)
    scorer.document_frequency, scorer.crefs = df, OfLength(scorer.crefs, ref_len)
    return [float(score) for score in scorer.compute_cider()]


def ours(
    references: list[list[str]], candidates: list[str], table: DocumentFrequencies
) -> list[float]:
    numbered = dict(enumerate(references)), dict(enumerate(candidates))
    return list(score_without_java(*numbered, table)["CIDEr"].per_image.values())


@pytest.mark.parametrize("seed", range(30))
def test_equals_stock_with_the_same_frequencies(seed, tmp_path):
    """One image and several, against a corpus that lacks some of their words."""
    rng = random.Random(seed)
    corpus = captions(rng, rng.choice([2, 3, 40]))
    references = captions(rng, rng.choice([1, 1, 4]))
    for of_image in references:
        of_image.append("a zebra")
    candidates = [rng.choice([*captions(rng, 1)[0], *of_image]) for of_image in references]
    expected = stock_cider(references, candidates, counted(corpus), len(corpus))
    computed = ours(references, candidates, document_frequencies(corpus))
    assert computed == pytest.approx(expected, rel=1e-12, abs=1e-12)
    # A file lists no n-grams of one image, and gives the same scores to the last bit.
    write_known_frequencies(tmp_path / "x.frequencies", corpus, "made up")
    table = read_known_frequencies(tmp_path / "x.frequencies").table
    assert ours(references, candidates, table) == computed


def test_a_score_does_not_depend_on_the_other_images():
    references, candidates = [["the dog"], ["a dog", "12"], ["dogs 's"]], ["a dog"] * 3
    table = document_frequencies(captions(random.Random(2), 30))
    together = ours(references, candidates, table)
    assert [ours([of_image], ["a dog"], table)[0] for of_image in references] == together


def test_a_corpus_of_one_image_is_refused():
    with pytest.raises(UserError, match="1 image: CIDEr needs two or more"):
        frequencies_of({1: ["a dog"]})


def test_the_name_depends_on_the_captions_alone():
    one = frequencies_of({1: ["a dog", "the dog"], 2: ["a cat"]}).name
    assert one == frequencies_of({2: ["a cat"], 1: ["the dog", "a dog"]}).name
    assert one != frequencies_of({1: ["a dog", "the dog"], 2: ["a cats"]}).name
    assert one.startswith("sha256:") and one.endswith("x3")


@pytest.mark.parametrize("at", [0, -1, -40, None])
def test_a_damaged_file_is_an_error(tmp_path, at):
    path = tmp_path / "x.frequencies"
    write_known_frequencies(path, captions(random.Random(0), 9), "made up")
    data = bytearray(path.read_bytes())
    if at is None:
        del data[-9:]
    else:
        data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x\.frequencies: damaged .*; reinstall the package"):
        read_known_frequencies(path)


def test_the_command_tokenises_references(tmp_path, capsys):
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)]
    texts = {1: "A cat, a mat.", 2: "The cat!"}
    annotations = [{"id": i, "image_id": i, "caption": text} for i, text in texts.items()]
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    options = ["--references", str(path), "--source", "made up", "--folder", str(tmp_path)]
    build_known_frequencies.main(["new", *options])
    known = read_known_frequencies(tmp_path / "new.frequencies")
    assert list(known.table.words) == ["cat"] and known.table.images == 2
    assert known.source == "made up" and "1 n-grams of 2 images" in capsys.readouterr().out


# ---------------------------------------------------------------------------- what is shipped


def test_coco_val2014_is_that_of_all_its_images():
    """coco-caption's README states the 40,504 images; "a" is in the captions of 40,447."""
    frequencies = shipped_frequencies("coco-val2014")
    table, known = frequencies.table, read_known_frequencies(known_files()["coco-val2014"])
    assert table.images == 40504 and "COCO" in known.source and "CC BY 4.0" in known.source
    assert frequencies.name == f"coco-val2014@sha256:{known.sha256[:12]}"
    assert [len(keys) for keys in table.keys] == [10430, 74646, 130643, 133577]
    assert table.idf[0][table.words["a"]] == pytest.approx(np.log(40504 / 40447), abs=1e-12)


def test_known_values_of_coco_val2014():
    """Computed by stock pycocoevalcap with all n-grams of captions_val2014.json."""
    references = [
        [
            "a man with a red helmet on a small moped on a dirt road",
            "man riding a motor bike on a dirt road on the countryside",
            "a man riding on the back of a motorcycle",
        ]
    ]
    table = shipped_frequencies("coco-val2014").table
    [score] = ours(references, ["a man riding a motorcycle on a dirt road"], table)
    assert score == pytest.approx(2.1749099794757583, abs=1e-12)


@pytest.mark.slow
def test_coco_val2014_from_its_captions(tmp_path):
    """Count the n-grams of all captions again, in plain Python, and compare bytes and scores."""
    member = "coco/annotations/captions_val2014.json"
    with zipfile.ZipFile(Path(spice.__file__).with_name("spice-1.0.jar")) as jar:
        path = Path(jar.extract(member, tmp_path))
    source = read_known_frequencies(known_files()["coco-val2014"]).source
    options = ["--references", str(path), "--source", source, "--folder", str(tmp_path)]
    build_known_frequencies.main(["again", *options])
    again, shipped = tmp_path / "again.frequencies", known_files()["coco-val2014"]
    assert again.read_bytes() == shipped.read_bytes()
    data = json.loads(path.read_text())
    by_image: dict[int, list[str]] = {image["id"]: [] for image in data["images"]}
    tokens = ptb_tokenize([annotation["caption"] for annotation in data["annotations"]])
    for annotation, caption in zip(data["annotations"], tokens, strict=True):
        by_image[annotation["image_id"]].append(caption)
    corpus = list(by_image.values())
    references = [of_image[1:] for of_image in corpus[:1000]]
    candidates = [of_image[0] for of_image in corpus[1:1001]]
    expected = stock_cider(references, candidates, counted(corpus), len(corpus))
    table = shipped_frequencies("coco-val2014").table
    assert ours(references, candidates, table) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_all_shipped_files_are_whole():
    assert list(known_files()) == ["coco-val2014"]
    assert known_files()["coco-val2014"].parent == known_frequencies.FOLDER
