"""`dsacap score` by pretrained models: CLIPScore, with and without references, and BERTScore."""

import pandas as pd
import pytest

from dsacap.common.files import read_json
from dsacap.evaluation import model_metrics
from dsacap.scoring.metrics.bertscore import NoBertScore, TextModel
from dsacap.scoring.metrics.metric_result import mean_over_images
from helpers import noise_photo, save_vit
from score_fixtures import COCO, run, run_score

pytestmark = pytest.mark.usefixtures("no_corenlp")
CAPTIONS = {1: "a red dog", 2: "a dog sleeps", 3: "birds"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny vision-language model on disk, by the name that --encoder takes."""
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    save_vit(folder)
    return f"local-dir:{folder}"


@pytest.fixture
def photos(tmp_path):
    """Photos named as COCO's, in a folder."""
    for i in CAPTIONS:
        name = f"COCO_val2014_{i:012}.jpg"
        (tmp_path / "photos" / "val2014").mkdir(parents=True, exist_ok=True)
        noise_photo((48, 48), 20 * i, seed=i).save(tmp_path / "photos" / "val2014" / name)
    return tmp_path / "photos"


def quality(path) -> dict:
    return read_json(path)["quality"]


def test_clip_score_without_references_equals_that_with_them(files, photos, encoder, capsys):
    folder, predictions, _, write = files
    images = [{"id": i, "file_name": f"COCO_val2014_{i:012}.jpg"} for i in CAPTIONS]
    references = write("named.json", {**COCO, "images": images})
    given = (predictions, "--photos", photos, "--encoder", encoder, "--json", folder / "s.json")
    assert run_score(*given, "--references", references) == 0
    with_references = quality(folder / "s.json")
    assert {"CIDEr", "CLIPScore", "RefCLIPScore"} <= set(with_references)
    capsys.readouterr()
    assert run_score(*given, "--csv", folder / "s.csv") == 0
    printed, notes = capsys.readouterr()
    alone = quality(folder / "s.json")
    assert list(alone) == ["CLIPScore"]
    assert alone["CLIPScore"]["per_image"]["3"] > 0  # the others are cut off at 0
    assert alone["CLIPScore"]["per_image"] == with_references["CLIPScore"]["per_image"]
    assert printed.startswith(f"CLIPScore {alone['CLIPScore']['value']:.4f} (3 images)\n")
    assert "note: there are no references, which all metrics but CLIPScore need" in notes
    assert "|refs:none|images:3|" in alone["CLIPScore"]["signature"]
    assert "|ids:sha256:" in alone["CLIPScore"]["signature"]
    assert pd.read_csv(folder / "s.csv").metric.tolist() == ["CLIPScore"] * 4


def test_ids_may_be_names_of_photos(files, photos, encoder, capsys):
    folder, _, _, write = files
    named = write("named.json", {f"COCO_val2014_{i:012}.jpg": c for i, c in CAPTIONS.items()})
    given = ("--photos", photos, "--encoder", encoder, "--json", folder / "s.json")
    assert run_score(named, *given) == 0
    of_names = quality(folder / "s.json")["CLIPScore"]
    assert next(iter(of_names["per_image"])) == "COCO_val2014_000000000001.jpg"
    other = write("other.json", {"1": "a red dog", "9.jpg": "x"})
    assert run_score(other, *given) == 1
    assert "has no photo of 1 image, such as '9.jpg'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--spice", "--train", "--document-frequencies", "--bertscore"])
def test_what_needs_references_is_refused_without(files, photos, capsys, option):
    _, predictions, references, _ = files
    value = [] if option in ("--spice", "--bertscore") else [references]
    assert run("score", predictions, "--photos", photos, option, *value) == 1
    assert f"error: {option}: needs references; give them by" in capsys.readouterr().err


def test_bertscore_has_its_own_row_and_signature(files, capsys, monkeypatch):
    folder, predictions, references, _ = files
    chosen = []

    def found(given):
        chosen.append(given)
        return TextModel(given, folder, 17)

    def scores(model, described, candidates):
        assert described[1] == ["A red dog.", "The dog is red!"] and candidates[1] == "a red dog"
        return mean_over_images({i: 0.9 + i / 100 for i in candidates})

    monkeypatch.setattr(model_metrics, "find_model", found)
    monkeypatch.setattr(model_metrics, "bert_score", scores)
    monkeypatch.setattr(TextModel, "fields", lambda _: {"model": "m", "layer": 17})
    given = (predictions, "--references", references, "--json", folder / "s.json")
    assert run_score("--bertscore", *given) == 0
    assert run_score(*given, "--bertscore-model", "mine:9") == 0
    assert chosen == ["roberta-large", "mine:9"]
    score = quality(folder / "s.json")["BERTScore"]
    assert score["value"] == pytest.approx(0.92) and score["interval"]
    assert score["signature"].startswith("BERTScore|model:m|layer:17|tok:")
    assert "BERTScore" in capsys.readouterr().out
    assert run_score(*given) == 0 and "BERTScore" not in quality(folder / "s.json")


def test_bertscore_without_its_model_is_na_with_the_reason(files, capsys, monkeypatch):
    folder, predictions, references, _ = files

    def missing(_):
        raise NoBertScore("BERTScore: not computed: it is not there")

    monkeypatch.setattr(model_metrics, "find_model", missing)
    given = (predictions, "--references", references, "--bertscore", "--json", folder / "s.json")
    assert run_score(*given) == 0
    assert quality(folder / "s.json")["BERTScore"]["value"] is None
    assert quality(folder / "s.json")["CIDEr"]["value"] is not None
    assert "BERTScore: not computed: it is not there" in capsys.readouterr().out
