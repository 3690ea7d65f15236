"""The scores of captions from a file: `dsacap score PREDICTIONS`."""

import argparse
import csv
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dsacap.cli.reading import SPICE, TABLE, check_files, reading_of
from dsacap.cli.score_tables import print_scores, score_rows, scores_by_id
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, write_json
from dsacap.common.outputs import beside, print_written
from dsacap.common.printable import printable
from dsacap.data.caption_files.forms import Captions
from dsacap.data.photos import PhotoSource
from dsacap.evaluation.corpus import Corpus, load_corpus
from dsacap.evaluation.inputs import Inputs, load_captions, load_inputs, load_without_references
from dsacap.evaluation.model_metrics import bert_scores, clip_scores, without_references
from dsacap.evaluation.scoring import score_inputs
from dsacap.scoring.metrics.bertscore import DEFAULT_MODEL
from dsacap.scoring.metrics.diversity import samples_per_image
from dsacap.scoring.metrics.spice import CaptionTooLong
from dsacap.scoring.result_cache import cached
from dsacap.scoring.score import missing_score, score_samples, tokenise
from dsacap.scoring.signature import GIVEN, Scored, scored_against

# What needs references, by the option that asks for it.
_OF_REFERENCES = {
    "--references-format": "references_format",
    "--split": "split",
    "--tokenized": "tokenized",
    "--subset": "subset",
    "--document-frequencies": "document_frequencies",
    "--train": "train",
    "--spice": "spice",
    "--all-spice": "all_spice",
    "--bertscore": "bertscore",
    "--bertscore-model": "bertscore_model",
}
_WITHOUT_REFERENCES = (
    "note: there are no references, which all metrics but CLIPScore need; give them by"
    " --references to compute the others"
)


def score_file(options: argparse.Namespace) -> None:
    """Score a file of captions, print the table, and write the files that the options name.

    Files that were scored before are read from a cache.

    Args:
        options: The options of `dsacap score`.

    Raises:
        UserError: A file is malformed, the images do not match, a metric cannot be computed, or an
            output would overwrite an input.
    """
    outputs = [options.json, options.csv]
    alone = bool(options.photos and not options.references)
    check_files(options, [options.predictions], outputs, alone=alone)
    if alone and (given := [name for name, at in _OF_REFERENCES.items() if vars(options)[at]]):
        raise UserError(f"{given[0]}: needs references; give them by --references")
    photos = PhotoSource(options.photos) if options.photos else None
    inputs = _inputs(options)
    for note in inputs.notes:
        print(note, file=sys.stderr)
    by_models = _by_models(options, inputs, photos)
    parts = _score(options, inputs) if options.references else _nothing()
    parts["quality"] |= by_models
    with beside(outputs):
        print_scores(parts, len(inputs.images))
    if options.json:
        record = {"predictions": printable(str(options.predictions)), "sha256": inputs.hashes[0]}
        named = scores_by_id(parts, inputs)
        write_json(options.json, record | named | {"notes": list(map(printable, inputs.notes))})
    if options.csv:
        with replacing(options.csv) as temporary, temporary.open("w", **TABLE) as file:
            csv.writer(file, lineterminator="\n").writerows(score_rows(parts, inputs))
    print_written(outputs)


def _inputs(options: argparse.Namespace) -> Inputs:
    how = reading_of(options)
    if options.references:
        return load_inputs(options.predictions, options.references, how)
    inputs = load_without_references(options.predictions, how)
    return replace(inputs, notes=(*inputs.notes, _WITHOUT_REFERENCES))


def _nothing() -> dict[str, Any]:
    """Return what `score_inputs` does, without any score."""
    return {"quality": {}, "held_out": {}, "oracle": {}, "diversity": {}, "samples": 1}


def _by_models(
    options: argparse.Namespace, inputs: Inputs, photos: PhotoSource | None
) -> dict[str, dict]:
    """Return the scores by pretrained models that the options ask for."""
    model = options.bertscore_model or (DEFAULT_MODEL if options.bertscore else None)
    if not (photos or model):
        return {}
    scored = (
        _scored(options, _tokens(inputs, options))
        if options.references
        else without_references(inputs)
    )
    scores: dict[str, dict] = {}
    if model:
        scores |= bert_scores(inputs, scored, model)
    if photos:
        scores |= clip_scores(inputs, scored, photos, options.encoder, options.pretrained)
    return scores


def _score(options: argparse.Namespace, inputs: Inputs) -> dict[str, dict]:
    """Return all scores of `score_inputs` for one file."""
    if options.all_spice and options.spice is False:
        raise UserError("--all-spice and --no-spice exclude each other; give one of them")
    if options.all_spice:
        samples_per_image(inputs.captions)  # refuses one caption per image, before long parsing
    train = load_captions(options.train, "train") if options.train else None
    how = reading_of(options)
    corpus = load_corpus(options.document_frequencies, how)
    settings = [len(options.references), *vars(how).values(), options.spice, options.all_spice]
    hashes = [*inputs.hashes, *(one.sha256 if one else "" for one in (train, corpus))]
    return cached(hashes, settings, lambda: _score_captions(options, inputs, train, corpus))


def _score_captions(
    options: argparse.Namespace, inputs: Inputs, train: Captions | None, corpus: Corpus | None
) -> dict[str, dict]:
    spice = SPICE[options.spice]
    parts = score_inputs(inputs, reading_of(options), spice=spice, corpus=corpus, train=train)
    if options.all_spice:
        tokens, captions = _tokens(inputs, options), tokenise(inputs.captions)
        scored = _scored(options, tokens)
        samples = _samples(tokens, captions, scored, required=spice == "required")
        parts["diversity"] |= samples["diversity"]
        parts["oracle"] |= samples["oracle"]
    return parts


def _samples(
    tokens: Mapping[int, list[str]],
    tokenised: Mapping[int, list[str]],
    scored: Scored,
    required: bool,
) -> dict:
    """Return AllSPICE and the best of k by SPICE, or null and the reason unless required."""
    try:
        return score_samples(tokens, tokenised, scored)
    except CaptionTooLong as error:
        if required:
            raise
        return {"diversity": missing_score("AllSPICE", f"All{error}", scored), "oracle": {}}


def _tokens(inputs: Inputs, options: argparse.Namespace) -> Mapping[int, list[str]]:
    return inputs.references if options.tokenized else tokenise(inputs.references)


def _scored(options: argparse.Namespace, tokens: Mapping[int, list[str]]) -> Scored:
    return scored_against(tokens, GIVEN if options.tokenized else None)
