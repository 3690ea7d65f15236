"""The stage `score`: scores of captions of the test split."""

from collections import Counter
from pathlib import Path

from dsacap.common.files import read_json, sha256, write_json
from dsacap.config.dataset import Scenes
from dsacap.data.prepared import load_examples, load_references
from dsacap.evaluation.inputs import load_inputs
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout
from dsacap.runs.models import load_scenes


def score_system(layout: Layout, system: str, seed: int) -> dict:
    """Score captions of the test split, and write the scores.

    Args:
        layout: The layout of the configuration.
        system: A trained system, a row of `predictions`, or `HUMAN`, whose captions are the
            references, scored against each other.
        seed: The seed of the row.

    Returns:
        Facts for the manifest: the number of images; for how many captions SPICE's tuples came from
        the cache, from this package or from the parser; and the hash of a predictions file.

    Raises:
        UserError: A predictions file is malformed or is not of the test split, or a metric cannot
            be computed.
    """
    from dsacap.scoring.metrics.spice import tuple_sources
    from dsacap.scoring.score import score_decodings, score_humans
    from dsacap.scoring.signature import scored_against

    train = {
        caption for example in load_examples(layout.data, "train") for caption in example.tokens
    }
    truth = load_scenes(layout) if isinstance(layout.config.dataset, Scenes) else None
    spice = layout.config.scoring.spice
    with tuple_sources() as sources:
        if system == HUMAN:
            references = load_references(layout.data)
            scores = score_humans(references, train, truth, spice)
        else:
            predicted = system in layout.config.predictions
            references, captions = (
                _predicted(layout, system) if predicted else captioned(layout, system, seed)
            )
            scores = score_decodings(
                references,
                captions,
                train,
                truth,
                scored_against(references, split="test"),
                spice=spice,
                without_spice=layout.config.without_spice(system),
            )
    write_json(layout.scores(system, seed), scores)
    facts: dict = {
        "images": len(references),
        "spice_tuples": dict(sorted(Counter(sources.values()).items())),
    }
    if system in layout.config.predictions:
        facts["sha256"] = sha256(layout.predictions(system))
    return facts


def _predicted(
    layout: Layout, system: str
) -> tuple[dict[int, list[str]], dict[str, dict[int, list[str]]]]:
    """Return the same of a predictions file, which must be of exactly the test images."""
    path = layout.predictions(system)
    pair = load_inputs(path, load_references(layout.data))
    return pair.references, {PREDICTIONS: pair.captions}


def captioned(
    layout: Layout, system: str, seed: int
) -> tuple[dict[int, list[str]], dict[str, dict[int, list[str]]]]:
    """Return a trained row's captions and what they are scored against.

    Returns:
        The tokenised references of the captioned images, without those of photos that were skipped
        as unusable; and decoding -> image id -> captions.
    """
    captions = read_captions(layout.captions(system, seed))
    references = load_references(layout.data)
    return {i: references[i] for i in next(iter(captions.values()))}, captions


def read_captions(path: Path) -> dict[str, dict[int, list[str]]]:
    """Read decoding -> image id -> captions, as the stage `caption` wrote them."""
    return {
        name: {int(image_id): texts for image_id, texts in by_image.items()}
        for name, by_image in read_json(path).items()
    }


def tokenised_captions(layout: Layout, system: str, seed: int) -> dict[str, dict[int, list[str]]]:
    """Return decoding -> image id -> captions as PTB tokens, as generators were trained on them."""
    from dsacap.scoring.score import tokenise

    return {
        name: tokenise(by_image) for name, by_image in captioned(layout, system, seed)[1].items()
    }
