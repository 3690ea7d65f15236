"""Scores of captions for callers in Python: `dsacap.score`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.data.caption_files.forms import Captions as CaptionFile
from dsacap.evaluation.corpus import Corpus, load_corpus
from dsacap.evaluation.inputs import Given, Inputs, Reading, check_choices, load_inputs
from dsacap.evaluation.model_metrics import bert_scores
from dsacap.evaluation.results import Scores, scores_of
from dsacap.scoring.domains import score_domains
from dsacap.scoring.metrics.bertscore import DEFAULT_MODEL
from dsacap.scoring.metrics.coco_metrics import METRICS
from dsacap.scoring.score import Captions, Spice, score_tokenised, tokenise
from dsacap.scoring.signature import GIVEN, scored_against

_OF_SPICE = {"SPICE", "SPIDEr"}
_WITHOUT_METEOR = {"BLEU", *METRICS, *_OF_SPICE, "BERTScore"} - {"METEOR"}


def score(
    predictions: Given,
    references: Given | Sequence[Given],
    *,
    metrics: Collection[str] | None = None,
    spice: Spice = "auto",
    document_frequencies: Given | None = None,
    bertscore: str | Path | None = None,
    how: Reading | None = None,
) -> Scores:
    """Score captions; see `dsacap.score`."""
    how = check_choices(spice, how)
    wanted = _names_of(metrics)
    if "BERTScore" in wanted and bertscore is None:
        bertscore = DEFAULT_MODEL
    elif bertscore is not None and wanted:
        wanted.add("BERTScore")
    of_spice = [name for name in wanted if any(_is_of(name, one) for one in _OF_SPICE)]
    if wanted and not of_spice:
        spice = "off"
    elif of_spice and spice == "off":
        raise UserError(f"metrics: {of_spice[0]!r} needs SPICE, which spice='off' leaves out")
    inputs = load_inputs(predictions, references, how)
    parts = score_inputs(
        inputs,
        how,
        spice=spice,
        corpus=load_corpus(document_frequencies, how),
        with_meteor=not wanted or not wanted <= _WITHOUT_METEOR,
    )
    if bertscore is not None:
        tokens = inputs.references if how.tokenized else tokenise(inputs.references)
        scored = scored_against(tokens, GIVEN if how.tokenized else None)
        parts["quality"] |= bert_scores(inputs, scored, str(bertscore))
    plain, domains = flat(parts), parts.get("domains", {})
    for name in wanted:
        if not any(_is_of(metric, name) for metric in plain):
            raise UserError(f"metrics: {name!r} is not among {', '.join(plain)}")
    of_domains = {
        name: scores_of(_chosen(of, wanted), inputs.images) for name, of in domains.items()
    }
    return scores_of(_chosen(plain, wanted), inputs.images, inputs.notes, of_domains)


def score_inputs(
    inputs: Inputs,
    how: Reading,
    *,
    spice: Spice,
    corpus: Corpus | None = None,
    train: CaptionFile | None = None,
    with_meteor: bool = True,
) -> dict[str, Any]:
    """Score captions that were read.

    Args:
        inputs: The captions and their references.
        how: How they were read.
        spice: Whether SPICE is computed.
        corpus: The captions that document frequencies are taken from; by default the references.
        train: The captions of the train split.
        with_meteor: Whether METEOR is computed.

    Returns:
        The parts of `score_tokenised`, and "domains" where the references have some. Without train
        captions there are no "leaks" and no `novel`, which are unknown then.
    """
    tokens = inputs.references if how.tokenized else tokenise(inputs.references)
    captions, tokenizer = tokenise(inputs.captions), GIVEN if how.tokenized else None
    of_train = tokenise(dict(enumerate(train.by_image.values()))).values() if train else ()
    train_captions = {caption for texts in of_train for caption in texts}
    frequencies = corpus.frequencies() if corpus else None

    def scored(references: Captions, candidates: Captions) -> dict[str, Any]:
        return score_tokenised(
            references,
            {"": candidates},
            train_captions,
            None,
            scored_against(references, tokenizer),
            spice=spice,
            with_held_out=False,
            with_spider=True,
            with_meteor=with_meteor,
            frequencies=frequencies,
        )[""]

    parts = scored(tokens, captions)
    if train is None:
        del parts["leaks"]
        parts["diversity"].pop("novel", None)
    if inputs.groups:
        parts["domains"] = score_domains(tokens, captions, inputs.groups, scored)
    return parts


def _names_of(metrics: Collection[str] | None) -> set[str]:
    names = [metrics] if isinstance(metrics, str) else metrics or ()
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise UserError(f"metrics: must be a list of names, such as ['CIDEr'], not {metrics!r}")
    return set(names)


def _chosen(plain: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The metrics that are wanted, by name, or "BLEU" for all its orders; all if none is named."""
    return {
        metric: one
        for metric, one in plain.items()
        if not wanted or any(_is_of(metric, name) for name in wanted)
    }


def _is_of(metric: str, name: str) -> bool:
    return metric == name or metric.startswith(f"{name}-")


def flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of one decoding by metric, given by part as `score_tokenised` does."""
    best = {f"best-of-{parts['samples']} {name}": one for name, one in parts["oracle"].items()}
    return parts["quality"] | parts["diversity"] | best
