"""The scores of predictions files: `dsacap score PREDICTIONS` and `dsacap compare A B`."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from dsacap.common.errors import UserError
from dsacap.common.files import replacing, sha256, write_json
from dsacap.data.photos import PhotoSource
from dsacap.data.predictions import matched, read_predictions, read_references
from dsacap.scoring.frequencies import Frequencies, frequencies_of, shipped_frequencies
from dsacap.scoring.metrics.coco_metrics import score_many
from dsacap.scoring.metrics.diversity import samples_per_image
from dsacap.scoring.metrics.known_frequencies import known_files
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.metrics.spice import CaptionTooLong
from dsacap.scoring.result_cache import cached
from dsacap.scoring.score import (
    PERCENT,
    Captions,
    Spice,
    missing_score,
    plain_scores,
    score_decodings,
    score_samples,
    tokenise,
)
from dsacap.scoring.signature import GIVEN, Scored, scored_against
from dsacap.scoring.statistics import compare

_SPICE: dict[bool | None, Spice] = {None: "auto", True: "required", False: "off"}


def score_file(options: argparse.Namespace) -> None:
    """Score a predictions file, print the table, and write the files that the options name.

    Files that were scored before are read from a cache.

    Args:
        options: The options of `dsacap score`.

    Raises:
        UserError: A file is malformed, the images do not match, or a metric cannot be computed.
    """
    parts = _score(options)
    scores = _flat(parts)
    print(_table(scores))
    if options.train:
        leaks = parts["leaks"]
        print(
            f"\n{leaks['verbatim']} of {leaks['captions']} captions occur word for word in the"
            " train captions."
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
    """Score two predictions files on the same images, and print how and where they differ.

    Args:
        options: The options of `dsacap compare`.

    Raises:
        UserError: A file is malformed, or the images differ.
    """
    captions_a, captions_b = (read_predictions(path) for path in (options.a, options.b))
    if unmatched := sorted(captions_a.keys() ^ captions_b.keys()):
        raise UserError(
            f"{options.b}: not of the same images as {options.a}; the first image that only one of"
            f" them has is {unmatched[0]}"
        )
    if len(captions_a) == 1:
        raise UserError(
            f"{options.a}: has one image, and p and intervals need two or more; add images, or"
            " score each file by `dsacap score`"
        )
    tokens, _, _ = _references(options, options.a, captions_a)
    pairs = [
        (tokens, {i: texts[0] for i, texts in tokenise(captions).items()})
        for captions in (captions_a, captions_b)
    ]
    scores_a, scores_b = score_many(pairs)
    print(
        _aligned(
            list(_differences(scores_a, scores_b)),
            ["Metric", "A", "B", "A - B", "95 % interval", "p"],
        )
    )
    print(
        "\np: paired permutation test over images, two-sided. CIDEr's document frequencies are held"
        " fixed.\n"
    )
    print(
        "\n".join(
            _changed_most(
                scores_a["CIDEr"].per_image, scores_b["CIDEr"].per_image, captions_a, captions_b
            )
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
    cider_a: Mapping, cider_b: Mapping, captions_a: Mapping, captions_b: Mapping, shown: int = 3
) -> Iterator[str]:
    ranked = sorted(cider_a, key=lambda i: cider_a[i] - cider_b[i])
    yield "Images that differ most in CIDEr:"
    for image_id in [*ranked[::-1][:shown], *ranked[:shown]]:
        yield f"  image {image_id}: {100 * (cider_a[image_id] - cider_b[image_id]):+.0f}"
        yield f"    A  {captions_a[image_id][0]}"
        yield f"    B  {captions_b[image_id][0]}"


def _references(
    options: argparse.Namespace, path: Path, predictions: dict[int, list[str]]
) -> tuple[Captions, Captions, dict[int, str]]:
    """Return the references of the predicted images: tokenised, raw, and their file names."""
    references, file_names = read_references(_given_references(options), options.tokenized)
    references = matched(path, predictions, references, options.subset)
    return references if options.tokenized else tokenise(references), references, file_names


def _given_references(options: argparse.Namespace) -> list[Path]:
    if not options.references:
        raise UserError("--references: is missing; it is needed to score a predictions file")
    return options.references


def _score(options: argparse.Namespace) -> dict[str, dict]:
    """Return all scores of `score_decodings` for one file, with CLIPScore if photos are given."""
    files = [options.predictions, *_given_references(options), *(options.train or [])]
    if options.document_frequencies:
        files.append(_frequencies_file(options.document_frequencies))
    settings = [
        len(options.references),
        options.tokenized,
        options.subset,
        options.spice,
        options.all_spice,
        bool(options.document_frequencies),
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
        samples_per_image(predictions)  # refuses one caption per image before minutes of parsing
    tokens, _, _ = _references(options, options.predictions, predictions)
    train: set[str] = set()
    if options.train:
        train = {
            caption
            for captions in tokenise(read_references(options.train, False)[0]).values()
            for caption in captions
        }
    scored, spice = _scored(options, tokens), _SPICE[options.spice]
    parts = score_decodings(
        tokens,
        {"file": predictions},
        train,
        None,
        scored,
        spice=spice,
        with_held_out=False,
        with_spider=True,
        frequencies=_frequencies(options),
    )["file"]
    if not options.train:
        del parts["leaks"]  # without train captions, leaks are unknown rather than absent
        parts["diversity"].pop("novel", None)
    if options.all_spice:
        samples = _samples(tokens, tokenise(predictions), scored, required=spice == "required")
        parts["diversity"] |= samples["diversity"]
        parts["oracle"] |= samples["oracle"]
    return parts


def _samples(tokens: Captions, tokenised: Captions, scored: Scored, required: bool) -> dict:
    """Return AllSPICE and the best of k by SPICE, or null and the reason unless required."""
    try:
        return score_samples(tokens, tokenised, scored)
    except CaptionTooLong as error:
        if required:
            raise
        return {"diversity": missing_score("AllSPICE", f"All{error}", scored), "oracle": {}}


def _frequencies_file(chosen: str) -> Path:
    """Return the file of the document frequencies that `--document-frequencies` names."""
    path = known_files().get(chosen, Path(chosen))
    if not path.exists():
        raise UserError(
            f"--document-frequencies {chosen}: no such file; give one with references, or the name"
            f" {' or '.join(known_files())}"
        )
    return path


def _frequencies(options: argparse.Namespace) -> Frequencies | None:
    if not (chosen := options.document_frequencies):
        return None
    if chosen in known_files():
        return shipped_frequencies(chosen)
    references, _ = read_references([Path(chosen)], options.tokenized)
    if len(references) < 2:
        raise UserError(f"{chosen}: has one image; document frequencies need those of many")
    return frequencies_of(references if options.tokenized else tokenise(references))


def _scored(options: argparse.Namespace, tokens: Captions) -> Scored:
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
        raise UserError(
            "--photos: the references contain no file names; give COCO's captions_*.json"
        )
    encoder = load_encoder(
        options.encoder, None if options.encoder.startswith("local-dir:") else options.pretrained
    )
    firsts = {image_id: captions[0] for image_id, captions in predictions.items()}
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
    """Return the rows of the CSV file, unscaled: CIDEr in 0..10, the others in 0..1."""
    rows: list[tuple] = []
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
