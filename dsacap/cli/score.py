"""Scoring a predictions file of anybody's: `dsacap score PREDICTIONS --references REFS`, and two of them: `dsacap compare A B`."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from dsacap.common.errors import UserError
from dsacap.common.files import replacing, sha256, write_json
from dsacap.data.photos import PhotoSource
from dsacap.data.predictions import matched, read_predictions, read_references
from dsacap.scoring.metrics.coco_metrics import score_many
from dsacap.scoring.metrics.diversity import samples_per_image
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.result_cache import cached
from dsacap.scoring.score import (
    PERCENT,
    Captions,
    plain_scores,
    score_decodings,
    score_samples,
    tokenise,
)
from dsacap.scoring.signature import GIVEN, scored_against
from dsacap.scoring.statistics import compare

_SPICE = {None: "auto", True: "required", False: "off"}


def score_file(options: argparse.Namespace) -> None:
    """Scores one predictions file, prints the table and writes what was asked for. What was scored before is read from a cache."""
    parts = _score(options)
    scores = _flat(parts)
    print(_table(scores))
    if options.train:
        leaks = parts["leaks"]
        print(
            f"\n{leaks['verbatim']} of {leaks['captions']} captions stand word for word in the train captions."
        )
    print("".join(f"\n{score['reason']}\n" for score in scores.values() if "reason" in score))
    print("\n".join(score["signature"] for score in scores.values()))
    if options.json:
        write_json(
            options.json,
            {
                "predictions": str(options.predictions),
                "sha256": sha256(options.predictions),
                **parts,
            },
        )
    if options.csv:
        with replacing(options.csv) as temporary:
            _rows(scores).to_csv(temporary, index=False)


def compare_files(options: argparse.Namespace) -> None:
    """Scores two predictions files on the same images and prints how they differ, and where most."""
    said_a, said_b = (read_predictions(path) for path in (options.a, options.b))
    if unlike := sorted(said_a.keys() ^ said_b.keys()):
        raise UserError(
            f"{options.b}: not of the same images as {options.a}; first that only one of them has: image {unlike[0]}"
        )
    tokens, _, _ = _references(options, options.a, said_a)
    pairs = [
        (tokens, {i: captions[0] for i, captions in tokenise(said).items()})
        for said in (said_a, said_b)
    ]
    scores_a, scores_b = score_many(pairs)
    print(
        _aligned(
            list(_differences(scores_a, scores_b)),
            ["Metric", "A", "B", "A - B", "95 % interval", "p"],
        )
    )
    print(
        "\np: paired permutation test over images, two-sided. CIDEr's document frequencies are held fixed.\n"
    )
    print(
        "\n".join(
            _changed_most(scores_a["CIDEr"].per_image, scores_b["CIDEr"].per_image, said_a, said_b)
        )
    )


def _differences(
    scores_a: Mapping[str, MetricResult], scores_b: Mapping[str, MetricResult]
) -> Iterator[list[str]]:
    for metric, a in scores_a.items():
        scale, paired = 100 if metric in PERCENT else 1, compare(a, scores_b[metric])
        values = [f"{scale * value:.2f}" for value in (a.corpus, scores_b[metric].corpus)]
        if paired is None:
            yield [metric, *values, "-", "-", "-"]
        else:
            interval = f"{scale * paired.low:+.2f} .. {scale * paired.high:+.2f}"
            yield [
                metric,
                *values,
                f"{scale * paired.difference:+.2f}",
                interval,
                f"{paired.p:.4f}",
            ]


def _changed_most(
    of_a: Mapping, of_b: Mapping, said_a: Mapping, said_b: Mapping, shown: int = 3
) -> Iterator[str]:
    ranked = sorted(of_a, key=lambda i: of_a[i] - of_b[i])
    yield "Images that differ most in CIDEr:"
    for image_id in [*ranked[::-1][:shown], *ranked[:shown]]:
        yield f"  image {image_id}: {100 * (of_a[image_id] - of_b[image_id]):+.0f}"
        yield from (
            f"    {name}  {said[image_id][0]}" for name, said in (("A", said_a), ("B", said_b))
        )


def _references(
    options: argparse.Namespace, path: Path, predictions: Mapping[int, list[str]]
) -> tuple[Captions, Captions, dict[int, str]]:
    """The references of the predicted images: tokenised, raw, and the file names."""
    references, file_names = read_references(_given_references(options), options.tokenized)
    references = matched(path, predictions, references, options.subset)
    return references if options.tokenized else tokenise(references), references, file_names


def _given_references(options: argparse.Namespace) -> list[Path]:
    if not options.references:
        raise UserError("--references: needed to score a predictions file")
    return options.references


def _score(options: argparse.Namespace) -> dict[str, dict]:
    """All of `score_decodings` for one file, with CLIPScore where photos are given."""
    files = [options.predictions, *_given_references(options), *(options.train or [])]
    settings = [
        len(options.references),
        options.tokenized,
        options.subset,
        options.spice,
        options.all_spice,
    ]
    parts = cached(files, settings, lambda: _score_captions(options))
    if options.photos:
        parts["quality"] |= _clip_scores(options)
    return parts


def _score_captions(options: argparse.Namespace) -> dict[str, dict]:
    predictions = read_predictions(options.predictions)
    if options.all_spice and options.spice is False:
        raise UserError("--all-spice and --no-spice exclude each other; give one of them")
    if options.all_spice:
        samples_per_image(predictions)  # refuses one caption an image, before minutes of parsing
    tokens, _, _ = _references(options, options.predictions, predictions)
    train: set[str] = set()
    if options.train:
        train = {
            caption
            for said in tokenise(read_references(options.train, False)[0]).values()
            for caption in said
        }
    scored, spice = _scored(options, tokens), _SPICE[options.spice]
    parts = score_decodings(
        tokens, {"file": predictions}, train, None, scored, spice=spice, with_held_out=False
    )["file"]
    if not options.train:
        del parts["leaks"]  # nothing to compare with is not the same as no leak
        parts["diversity"].pop("novel", None)
    if options.all_spice:
        samples = score_samples(tokens, tokenise(predictions), scored)
        parts["diversity"] |= samples["diversity"]
        parts["oracle"] |= samples["oracle"]
    return parts


def _scored(options: argparse.Namespace, tokens: Captions):
    return scored_against(tokens, GIVEN if options.tokenized else None)


def _flat(parts: Mapping[str, dict]) -> dict[str, dict]:
    best = {
        f"best-of-{parts['samples']} {metric}": score for metric, score in parts["oracle"].items()
    }
    return parts["quality"] | parts["diversity"] | best


def _clip_scores(options: argparse.Namespace) -> dict[str, dict]:
    import open_clip

    from dsacap.vision.clipscore import clip_score
    from dsacap.vision.encoders.load import load_encoder

    predictions = read_predictions(options.predictions)
    tokens, references, file_names = _references(options, options.predictions, predictions)
    if not file_names:
        raise UserError("--photos: the references name no photos; give COCO's captions_*.json")
    encoder = load_encoder(
        options.encoder, None if options.encoder.startswith("local-dir:") else options.pretrained
    )
    firsts = {image_id: said[0] for image_id, said in predictions.items()}
    tokenizer, photos = open_clip.get_tokenizer(options.encoder), PhotoSource(options.photos)
    scores = clip_score(encoder, tokenizer, photos, file_names, references, firsts)
    return plain_scores(
        scores, _scored(options, tokens), encoder=f"{options.encoder}/{options.pretrained}"
    )


def _table(scores: Mapping[str, dict]) -> str:
    lines = []
    for metric, score in scores.items():
        scale, digits = (100, 2) if metric.split()[-1] in PERCENT else (1, 4)
        value = "n/a" if score["value"] is None else f"{scale * score['value']:.{digits}f}"
        interval = (
            "-"
            if score["interval"] is None
            else " .. ".join(f"{scale * bound:.{digits}f}" for bound in score["interval"])
        )
        lines.append([metric, value, interval, str(score["n"] or "-")])
    return _aligned(lines, ["Metric", "Score", "95 % interval", "Images"])


def _aligned(lines: list[list[str]], headers: list[str]) -> str:
    return tabulate(
        lines, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1))
    )


def _rows(scores: Mapping[str, dict]) -> pd.DataFrame:
    """Unscaled: CIDEr in 0..10, the others in 0..1."""
    rows = []
    for metric, score in scores.items():
        low, high = score["interval"] or (None, None)
        rows.append((metric, None, score["value"], low, high))
        rows += [
            (metric, int(image_id), value, None, None)
            for image_id, value in score["per_image"].items()
        ]
    return pd.DataFrame(rows, columns=["metric", "image_id", "value", "ci_low", "ci_high"]).astype(
        {"image_id": "Int64"}
    )
