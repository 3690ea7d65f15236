"""The scores of captions from a file: `dsacap score PREDICTIONS`."""

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping

from tabulate import tabulate

from dsacap.cli.printing import is_percentage, scale_of, signature_lines
from dsacap.cli.reading import SPICE, TABLE, check_files, reading_of
from dsacap.common.errors import UserError
from dsacap.common.files import replacing, write_json
from dsacap.common.outputs import beside, print_written
from dsacap.common.printable import counted, printable
from dsacap.data.caption_files.forms import Captions
from dsacap.data.photos import PhotoSource
from dsacap.evaluation.corpus import Corpus, load_corpus
from dsacap.evaluation.inputs import Inputs, load_captions, load_inputs
from dsacap.evaluation.scoring import flat, score_inputs
from dsacap.scoring.metrics.diversity import samples_per_image
from dsacap.scoring.metrics.spice import CaptionTooLong
from dsacap.scoring.result_cache import cached
from dsacap.scoring.score import missing_score, plain_scores, score_samples, tokenise
from dsacap.scoring.signature import GIVEN, Scored, scored_against

_IN_PAPERS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")
_COUNTS = ("vocabulary",)  # whole numbers
_OF_METRICS = ("quality", "held_out", "oracle", "diversity")  # parts that are scores by metric


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
    check_files(options, [options.predictions], outputs)
    photos = PhotoSource(options.photos) if options.photos else None
    inputs = load_inputs(options.predictions, options.references, reading_of(options))
    for note in inputs.notes:
        print(note, file=sys.stderr)
    clip_scores = _clip_scores(options, inputs, photos) if photos else {}
    parts = _score(options, inputs)
    parts["quality"] |= clip_scores
    with beside(outputs):
        _print(parts, inputs, options)
    if options.json:
        record = {"predictions": printable(str(options.predictions)), "sha256": inputs.hashes[0]}
        named = _by_id(parts, inputs)
        write_json(options.json, record | named | {"notes": list(map(printable, inputs.notes))})
    if options.csv:
        with replacing(options.csv) as temporary, temporary.open("w", **TABLE) as file:
            csv.writer(file, lineterminator="\n").writerows(_rows(parts, inputs))
    print_written(outputs)


def _print(parts: Mapping[str, dict], inputs: Inputs, options: argparse.Namespace) -> None:
    scores, domains = flat(parts), parts.get("domains", {})
    print(f"{_headline(scores)} ({counted(len(inputs.images), 'image')})\n")
    print(_table(scores, domains))
    print(f"\n{scale_of(scores)}")
    if options.train:
        leaks = parts["leaks"]
        print(
            f"\n{leaks['verbatim']} of {counted(leaks['captions'], 'caption')} occur word for word"
            " in the train captions."
        )
    everything = [score for of in (scores, *domains.values()) for score in of.values()]
    reasons = dict.fromkeys(score["reason"] for score in everything if "reason" in score)
    print("".join(f"\n{reason}\n" for reason in reasons))
    print("\n".join(signature_lines(score["signature"] for score in scores.values())))


def _headline(scores: Mapping[str, dict]) -> str:
    """Return the scores of a row in a paper, in the order and with the digits of papers."""
    values = {metric: scores[metric]["value"] for metric in _IN_PAPERS if metric in scores}
    return ", ".join(
        f"{metric} {'n/a' if value is None else f'{100 * value:.1f}'}"
        for metric, value in values.items()
    )


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


def _clip_scores(
    options: argparse.Namespace, inputs: Inputs, photos: PhotoSource
) -> dict[str, dict]:
    if unnamed := [image for i, image in inputs.images.items() if i not in inputs.file_names]:
        raise UserError(
            f"--photos: the references name no photo of {counted(len(unnamed), 'image')}, such as"
            f" {unnamed[0]!r}; give references that do, such as COCO's captions_*.json"
        )
    from dsacap.vision.clipscore import clip_score
    from dsacap.vision.encoders.load import lacks_weights, load_encoder

    scored = _scored(options, _tokens(inputs, options))
    name = options.encoder
    pretrained = None if name.startswith("local-dir:") else options.pretrained
    if reason := lacks_weights(name, pretrained):
        return missing_score("CLIPScore", f"CLIPScore: not computed: {reason}", scored)
    import open_clip

    scores = clip_score(
        load_encoder(name, pretrained),
        open_clip.get_tokenizer(name),
        photos,
        inputs.file_names,
        inputs.references,
        {i: captions[0] for i, captions in inputs.captions.items()},
    )
    return plain_scores(scores, scored, encoder=f"{name}/{options.pretrained}")


def _table(scores: Mapping[str, dict], domains: Mapping[str, Mapping[str, dict]]) -> str:
    """The table of metrics, with a column for each domain."""
    lines = []
    for metric, score in scores.items():
        interval = (
            "-"
            if score["interval"] is None
            else " .. ".join(_shown(metric, bound) for bound in score["interval"])
        )
        of_domains = [
            _shown(metric, of[metric]["value"]) if metric in of else "-" for of in domains.values()
        ]
        value = _shown(metric, score["value"])
        lines.append([metric, *of_domains, value, interval, str(score["n"] or "-")])
    whole = "overall" if domains else "Score"
    return _aligned(lines, ["Metric", *domains, whole, "95 % interval", "Images"])


def _shown(metric: str, value: float | None) -> str:
    """A number as papers print it."""
    if value is None:
        return "n/a"
    if metric in _COUNTS:
        return f"{value:.0f}"
    return f"{100 * value:.2f}" if is_percentage(metric) else f"{value:.4f}"


def _aligned(lines: list[list[str]], headers: list[str]) -> str:
    return tabulate(
        lines, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1))
    )


def _by_id(parts: Mapping[str, dict], inputs: Inputs) -> dict:
    """Return the parts with the images' ids in place of their numbers."""

    def named(score: dict) -> dict:
        per_image = {str(inputs.images[int(i)]): v for i, v in score["per_image"].items()}
        return score | {"per_image": per_image}

    def all_named(scores: Mapping[str, dict]) -> dict:
        return {metric: named(score) for metric, score in scores.items()}

    with_ids = {
        part: all_named(scores) if part in _OF_METRICS else scores for part, scores in parts.items()
    }
    domains = parts.get("domains", {})
    return with_ids | {"domains": {name: all_named(of) for name, of in domains.items()}}


def _rows(parts: Mapping[str, dict], inputs: Inputs) -> Iterator[tuple]:
    """Yield the rows of the CSV file, unscaled: CIDEr in 0..10, the others in 0..1.

    If there are domains, a last column names that of the image, or that of the score.
    """
    domains = parts.get("domains", {})
    for *row, domain in _rows_with_domains(parts, domains, inputs):
        yield (*row, domain) if domains else tuple(row)


def _rows_with_domains(
    parts: Mapping[str, dict], domains: Mapping[str, Mapping[str, dict]], inputs: Inputs
) -> Iterator[tuple]:
    yield "metric", "image_id", "value", "ci_low", "ci_high", "domain"
    for metric, score in flat(parts).items():
        for domain, of in ((None, {metric: score}), *domains.items()):
            if metric in of:
                low, high = of[metric]["interval"] or (None, None)
                yield metric, None, of[metric]["value"], low, high, domain
        for i, value in score["per_image"].items():
            yield metric, inputs.images[int(i)], value, None, None, inputs.groups.get(int(i))
