"""Scores of one row's committed captions, as cells of the table.

Computed scores are cached in a folder that is named by a hash of this package's code. So a killed
run continues where it stopped, and changed code computes everything again.
"""

import os
import signal
import tempfile
import threading
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import chain
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.common.progress import show_no_progress
from dsacap.config.experiment import Config
from dsacap.data.prepared import load_examples, load_references
from dsacap.data.scenes.generate import load_scenes
from dsacap.data.scenes.grammar import Scene
from dsacap.evaluation.inputs import load_inputs
from dsacap.reporting.table import rows_of_scores
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout
from dsacap.scoring.java.corenlp import CoreNlpMissing, cache_folder, corenlp_jars
from dsacap.scoring.metrics.known_tuples import known_tuples
from dsacap.scoring.metrics.spice import parser_key
from dsacap.scoring.metrics.spice_tuples import TupleCache
from dsacap.scoring.result_cache import code_that_scores, digest_of, read_checked, write_checked
from dsacap.scoring.score import Spice, score_humans, score_tokenised, tokenise
from dsacap.scoring.signature import scored_against
from dsacap.stages.data import make_data
from dsacap.stages.score import read_captions
from dsacap.verification.committed import Cell, Numbers, Row, RowName

WORK = Path("work/verify")
_CAPTIONS, _SCENES = "captions.jsonl", "scenes.json"
Captions = dict[int, list[str]]  # image id -> tokenised captions


@dataclass(frozen=True)
class Scored:
    """The computed numbers of a row."""

    row: RowName
    numbers: dict[str, Numbers]  # by metric
    no_spice: str | None  # why SPICE was not computed; None if it was

    def cells(self) -> dict[Cell, Numbers]:
        """Return the numbers by cell of the table."""
        return {Cell(self.row, metric): numbers for metric, numbers in self.numbers.items()}


def begin_worker() -> None:
    """Prepare a worker process: it prints no progress, and ends when its parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; only the parent handles it
    show_no_progress()
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def make_captions(config: Config) -> Path:
    """Rebuild the captions of a data set, without its photos, unless that was done before.

    Args:
        config: The configuration of the table.

    Returns:
        The folder with captions.jsonl and, for generated scenes, scenes.json.

    Raises:
        UserError: Files that the user has to provide do not match the configuration.
    """
    folder = _work() / Layout(config).data.name
    if not (folder / _CAPTIONS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            layout = Layout(config.model_copy(update={"work": Path(temporary)}))
            make_data(layout, with_photos=False)
            # The captions are moved last: if they exist, the folder is complete.
            for name in (_SCENES, _CAPTIONS):
                if (layout.data / name).exists():
                    os.replace(layout.data / name, folder / name)
    return folder


def score_row(config: Config, data: Path, row: Row, spice: bool | None) -> Scored:
    """Score the captions of a row, or read the scores if the same code computed them before.

    Args:
        config: The configuration of the table.
        data: The folder that `make_captions` returned.
        row: The row.
        spice: Whether SPICE is computed; None: only if all captions were parsed before.

    Raises:
        UserError: The committed captions lack the row's decoding, or Java fails.
    """
    captions = row.captions and sha256(row.captions)
    made_of = [config.model_dump(mode="json"), sha256(data / _CAPTIONS), row.name, captions, spice]
    path = _work() / "scores" / f"{digest_of(made_of)}.json"
    kept = read_checked(path)
    if kept is None or _was_parsed_since(kept["not_parsed"]):
        kept = _score(config, data, row, spice)
        write_checked(path, kept)
    numbers = {metric: Numbers(*values) for metric, values in kept["numbers"].items()}
    return Scored(row.name, numbers, kept["no_spice"])


def captions_of(data: Path, row: Row) -> tuple[Captions, Captions]:
    """Return the references and the tokenised captions of a row; no captions for humans.

    Args:
        data: The folder that `make_captions` returned.
        row: The row.

    Raises:
        UserError: The committed file has no captions of this row.
    """
    references = _data(data)[1]
    if row.captions is None:
        return references, {}
    if row.name.decoding == PREDICTIONS:
        pair = load_inputs(row.captions, references)
        return pair.references, tokenise(pair.captions)
    captions = read_captions(row.captions).get(row.name.decoding)
    if captions is None:
        raise UserError(
            f"{row.captions}: no captions of decoding {row.name.decoding!r}; restore the file"
        )
    return {i: references[i] for i in captions}, tokenise(captions)


def has_spice(config: Config, row: Row) -> bool:
    """Return whether SPICE is computed for a row, unless it is switched off for all."""
    return row.name.decoding not in config.without_spice(row.name.system)


def parsed_by_spice(references: Captions, captions: Captions) -> list[str]:
    """Return what SPICE parses: all references, and the first caption of each image."""
    return [*chain(*references.values()), *(of_image[0] for of_image in captions.values())]


def _score(config: Config, data: Path, row: Row, spice: bool | None) -> dict:
    """Return `Scored` as plain data, with an unparsed caption if that is why SPICE is missing."""
    train, _, scenes = _data(data)
    references, captions = captions_of(data, row)
    no_spice = not_parsed = None
    if row_has_spice := has_spice(config, row):
        no_spice, not_parsed = _why_no_spice(config, parsed_by_spice(references, captions), spice)
    wanted: Spice = "required" if row_has_spice and not no_spice else "off"
    system, decoding, seed = row.name
    if system == HUMAN:
        scores = score_humans(references, train, scenes, wanted)
    else:
        against = scored_against(references, split="test")
        by_decoding = {decoding: captions}
        scores = score_tokenised(references, by_decoding, train, scenes, against, spice=wanted)
    cells = rows_of_scores(Layout(config), system, seed, scores)
    numbers = {cell["metric"]: [cell[name] for name in Numbers._fields] for cell in cells}
    return {"numbers": numbers, "no_spice": no_spice, "not_parsed": not_parsed}


def _why_no_spice(
    config: Config,
    captions: list[str],
    spice: bool | None,
) -> tuple[str | None, str | None]:
    """Return why SPICE cannot be computed, and an unparsed caption if that is the reason.

    Both are None if it can be computed.
    """
    if config.scoring.spice == "off":
        return "switched off in the configuration", None
    if spice is False:
        return "left out (--no-spice)", None
    if missing := _not_parsed(captions):
        return "some captions have not been parsed; --spice parses them, 40 ms each", missing[0]
    try:
        corenlp_jars(download=bool(spice), models=False)
    except CoreNlpMissing as error:
        return " ".join(str(error).split()), captions[0]
    return None, None


def _was_parsed_since(caption: str | None) -> bool:
    return caption is not None and not _not_parsed([caption])


def _not_parsed(captions: Iterable[str]) -> list[str]:
    """Return the captions whose tuples are neither in the user's cache nor shipped."""
    distinct = list(dict.fromkeys(captions))
    with closing(TupleCache(cache_folder() / "tuples.sqlite", parser_key())) as cached:
        found = cached.get(distinct)
    missing = [caption for caption in distinct if caption not in found]
    shipped = known_tuples(missing, parser_key())
    return [caption for caption in missing if caption not in shipped]


@cache
def _data(folder: Path) -> tuple[set[str], Captions, dict[int, Scene] | None]:
    """Return the train captions and test references, both tokenised, and the scenes if any."""
    train = {caption for example in load_examples(folder, "train") for caption in example.tokens}
    scenes = load_scenes(folder) if (folder / _SCENES).exists() else None
    return train, load_references(folder), scenes


@cache
def _work() -> Path:
    return WORK / code_that_scores()[:12]
