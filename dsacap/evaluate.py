"""Scoring a predictions file of anybody's: `dsacap score PREDICTIONS --references REFS`, and two of them: `dsacap compare A B`."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from dsacap.data.photos import PhotoSource
from dsacap.data.predictions import matched, read_predictions, read_references
from dsacap.errors import UserError
from dsacap.files import replacing, sha256, write_json
from dsacap.scoring.score import plain_scores, score_decodings, tokenise

PERCENT = {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE"}  # what papers print x100


def score_file(options: argparse.Namespace) -> None:
    """Scores one predictions file, prints the table and writes what was asked for."""
    if not options.references:
        raise UserError("--references: needed to score a predictions file")
    scores = _score(options.predictions, options)
    print(_table(scores))
    if options.json:
        write_json(options.json, {"predictions": str(options.predictions), "sha256": sha256(options.predictions), "scores": scores})
    if options.csv:
        with replacing(options.csv) as temporary:
            _rows(scores).to_csv(temporary, index=False)


def _score(path: Path, options: argparse.Namespace) -> dict[str, dict]:
    predictions = read_predictions(path)
    references, file_names = read_references(options.references, options.tokenized)
    references = matched(predictions, references, options.subset)
    train: set[str] = set()
    if options.train:
        train = {caption for said in tokenise(read_references(options.train, False)[0]).values() for caption in said}
    tokens = references if options.tokenized else tokenise(references)
    parts = score_decodings(tokens, {"file": predictions}, train, None)["file"]
    scores = parts["quality"] | parts["diversity"]
    if options.photos:
        scores |= plain_scores(_clip_scores(options, predictions, references, file_names))
    return scores


def _clip_scores(options: argparse.Namespace, predictions, references, file_names):
    import open_clip

    from dsacap.vision.clipscore import clip_score
    from dsacap.vision.encoder import load_encoder

    if not file_names:
        raise UserError("--photos: the references name no photos; give COCO's captions_*.json")
    encoder = load_encoder(options.encoder, None if options.encoder.startswith("local-dir:") else options.pretrained)
    firsts = {image_id: said[0] for image_id, said in predictions.items()}
    return clip_score(encoder, open_clip.get_tokenizer(options.encoder), PhotoSource(options.photos), file_names, references, firsts)


def _table(scores: Mapping[str, dict]) -> str:
    lines = []
    for metric, score in scores.items():
        scale, digits = (100, 2) if metric in PERCENT else (1, 4)
        interval = "-" if score["interval"] is None else " .. ".join(f"{scale * bound:.{digits}f}" for bound in score["interval"])
        lines.append([metric, f"{scale * score['value']:.{digits}f}", interval, score["n"] or "-"])
    return tabulate(
        lines, ["Metric", "Score", "95 % interval", "Images"], disable_numparse=True, colalign=("left", "right", "right", "right")
    )


def _rows(scores: Mapping[str, dict]) -> pd.DataFrame:
    """Unscaled: CIDEr in 0..10, the others in 0..1."""
    rows = []
    for metric, score in scores.items():
        low, high = score["interval"] or (None, None)
        rows.append((metric, None, score["value"], low, high))
        rows += [(metric, int(image_id), value, None, None) for image_id, value in score["per_image"].items()]
    return pd.DataFrame(rows, columns=["metric", "image_id", "value", "ci_low", "ci_high"]).astype({"image_id": "Int64"})
