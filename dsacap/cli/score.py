"""The scores of captions from a file: `dsacap score PREDICTIONS`."""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tabulate import tabulate

from dsacap.cli.reading import SPICE, reading_of
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, sha256, write_json
from dsacap.common.outputs import check_outputs
from dsacap.data.photos import PhotoSource
from dsacap.evaluation.inputs import Inputs, load_inputs, load_others
from dsacap.evaluation.scoring import flat
from dsacap.scoring.frequencies import Frequencies, frequencies_of, shipped_frequencies
from dsacap.scoring.metrics.diversity import samples_per_image
from dsacap.scoring.metrics.known_frequencies import known_files
from dsacap.scoring.metrics.spice import CaptionTooLong
from dsacap.scoring.result_cache import cached
from dsacap.scoring.score import (
    PERCENT,
    Captions,
    missing_score,
    plain_scores,
    score_decodings,
    score_samples,
    tokenise,
)
from dsacap.scoring.signature import GIVEN, Scored, scored_against


def score_file(options: argparse.Namespace) -> None:
    """Score a file of captions, print the table, and write the files that the options name.

    Files that were scored before are read from a cache.

    Args:
        options: The options of `dsacap score`.

    Raises:
        UserError: A file is malformed, the images do not match, a metric cannot be computed, or an
            output would overwrite an input.
    """
    paths = [options.predictions, *_given_references(options), *(options.train or [])]
    if options.document_frequencies:
        paths.append(_frequencies_file(options.document_frequencies))
    if options.photos:
        paths.append(options.photos)
    check_outputs([options.json, options.csv], paths)
    inputs = load_inputs(options.predictions, options.references, reading_of(options))
    for note in inputs.notes:
        print(note, file=sys.stderr)
    parts = _score(options, inputs)
    scores = flat(parts)
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
        record = {"predictions": str(options.predictions), "sha256": inputs.hashes[0]}
        write_json(options.json, record | _by_id(parts, inputs))
    if options.csv:
        with replacing(options.csv) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(_rows(scores, inputs))


def _given_references(options: argparse.Namespace) -> list[Path]:
    if not options.references:
        raise UserError("--references: is missing; it is needed to score a predictions file")
    return options.references


def _tokens(options: argparse.Namespace, inputs: Inputs) -> Captions:
    return inputs.references if options.tokenized else tokenise(inputs.references)


def _score(options: argparse.Namespace, inputs: Inputs) -> dict[str, dict]:
    """Return all scores of `score_decodings` for one file, with CLIPScore if photos are given."""
    train = load_others(options.train, "train") if options.train else None
    how = vars(reading_of(options))
    chosen = options.document_frequencies
    settings = [len(options.references), *how.values(), options.spice, options.all_spice, chosen]
    hashes = [*inputs.hashes, *([train.sha256] if train else [])]
    if chosen:
        hashes.append(sha256(_frequencies_file(chosen)))
    parts = cached(hashes, settings, lambda: _score_captions(options, inputs, train))
    if options.photos:
        parts["quality"] |= _clip_scores(options, inputs)
    return parts


def _score_captions(options: argparse.Namespace, inputs: Inputs, train) -> dict[str, dict]:
    if options.all_spice and options.spice is False:
        raise UserError("--all-spice and --no-spice exclude each other; give one of them")
    if options.all_spice:
        samples_per_image(inputs.captions)  # refuses one caption per image, before long parsing
    tokens = _tokens(options, inputs)
    texts = tokenise(train.by_image).values() if train else ()
    scored, spice = _scored(options, tokens), SPICE[options.spice]
    parts = score_decodings(
        tokens,
        {"file": inputs.captions},
        {caption for captions in texts for caption in captions},
        None,
        scored,
        spice=spice,
        with_held_out=False,
        with_spider=True,
        frequencies=_frequencies(options),
    )["file"]
    if train is None:
        del parts["leaks"]  # without train captions, leaks are unknown rather than absent
        parts["diversity"].pop("novel", None)
    if options.all_spice:
        tokenised = tokenise(inputs.captions)
        samples = _samples(tokens, tokenised, scored, required=spice == "required")
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
    captions = load_others([Path(chosen)], options.split).by_image.values()
    if len(captions) < 2:
        raise UserError(f"{chosen}: has one image; document frequencies need those of many")
    references = dict(enumerate(captions))
    return frequencies_of(references if options.tokenized else tokenise(references))


def _scored(options: argparse.Namespace, tokens: Captions) -> Scored:
    return scored_against(tokens, GIVEN if options.tokenized else None)


def _clip_scores(options: argparse.Namespace, inputs: Inputs) -> dict[str, dict]:
    import open_clip

    from dsacap.vision.clipscore import clip_score
    from dsacap.vision.encoders.load import load_encoder

    if unnamed := [image for i, image in inputs.images.items() if i not in inputs.file_names]:
        raise UserError(
            f"--photos: the references name no photo of {len(unnamed):,} images, such as"
            f" {unnamed[0]!r}; give references that do, such as COCO's captions_*.json"
        )
    encoder = load_encoder(
        options.encoder, None if options.encoder.startswith("local-dir:") else options.pretrained
    )
    firsts = {i: captions[0] for i, captions in inputs.captions.items()}
    tokenizer, photos = open_clip.get_tokenizer(options.encoder), PhotoSource(options.photos)
    scores = clip_score(encoder, tokenizer, photos, inputs.file_names, inputs.references, firsts)
    return plain_scores(
        scores,
        _scored(options, _tokens(options, inputs)),
        encoder=f"{options.encoder}/{options.pretrained}",
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


def _by_id(parts: Mapping[str, dict], inputs: Inputs) -> dict:
    """Return the parts with the images' ids in place of their numbers."""

    def named(score: dict) -> dict:
        per_image = {str(inputs.images[int(i)]): v for i, v in score["per_image"].items()}
        return score | {"per_image": per_image}

    return {
        part: {metric: named(score) for metric, score in scores.items()}
        if part in ("quality", "held_out", "oracle", "diversity")
        else scores
        for part, scores in parts.items()
    }


def _rows(scores: Mapping[str, dict], inputs: Inputs) -> Iterator[tuple]:
    """Yield the rows of the CSV file, unscaled: CIDEr in 0..10, the others in 0..1."""
    yield "metric", "image_id", "value", "ci_low", "ci_high"
    for metric, score in scores.items():
        low, high = score["interval"] or (None, None)
        yield metric, None, score["value"], low, high
        for i, value in score["per_image"].items():
            yield metric, inputs.images[int(i)], value, None, None
