"""The scores of one row's committed captions, as cells of the table.

What is computed is kept in a folder that is named by a hash of this package's code. So a killed
run goes on where it stopped, and changed code computes everything again.
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
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import sha256
from dsacap.common.progress import show_no_progress
from dsacap.config.experiment import Config
from dsacap.data.predictions import matched, read_predictions
from dsacap.data.prepared import load_examples, load_references
from dsacap.data.scenes.generate import load_scenes
from dsacap.data.scenes.grammar import Scene
from dsacap.reporting.table import rows_of_scores
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout
from dsacap.scoring.java.corenlp import CoreNlpMissing, cache_folder, corenlp_jars
from dsacap.scoring.metrics.known_tuples import known_tuples
from dsacap.scoring.metrics.spice import parser_key
from dsacap.scoring.metrics.spice_tuples import TupleCache
from dsacap.scoring.result_cache import code_that_scores, digest_of, read_checked, write_checked
from dsacap.scoring.score import score_humans, score_tokenised, tokenise
from dsacap.scoring.signature import scored_against
from dsacap.stages.data import make_data
from dsacap.stages.score import read_captions
from dsacap.verification.committed import Cell, Numbers, Row, RowName

WORK = Path("work/verify")
_CAPTIONS, _SCENES = "captions.jsonl", "scenes.json"
Captions = dict[int, list[str]]  # image id -> tokenised captions


@dataclass(frozen=True)
class Scored:
    """A row's numbers by metric; `no_spice` says why SPICE is not among them, if it is not."""

    row: RowName
    numbers: dict[str, Numbers]
    no_spice: str | None

    def cells(self) -> dict[Cell, Numbers]:
        """Return the numbers by the cell of the table."""
        return {Cell(self.row, metric): numbers for metric, numbers in self.numbers.items()}


def begin_worker() -> None:
    """Prepare a process that scores beside others: silent, and gone when its parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent answers it
    show_no_progress()
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent) -> None:
    parent.join()
    os._exit(1)


def make_captions(config: Config) -> Path:
    """Make the captions of a data set again, without its photos, unless that was done before.

    Args:
        config: The configuration of the table.

    Returns:
        The folder of captions.jsonl and, where scenes are generated, scenes.json.

    Raises:
        UserError: The user's own files are not as the configuration says.
    """
    folder = _work() / Layout(config).data.name
    if not (folder / _CAPTIONS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            layout = Layout(config.model_copy(update={"work": Path(temporary)}))
            make_data(layout, with_photos=False)
            for name in (_SCENES, _CAPTIONS):  # the last says that all is there
                if (layout.data / name).exists():
                    os.replace(layout.data / name, folder / name)
    return folder


def score_row(config: Config, data: Path, row: Row, spice: bool | None) -> Scored:
    """Score the captions of a row, or read what this code computed of the same captions before.

    Args:
        config: The configuration of the table.
        data: What `make_captions` returned.
        row: The row.
        spice: Whether SPICE is computed; None: where all captions have been parsed.

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
    numbers = {metric: Numbers(*of) for metric, of in kept["numbers"].items()}
    return Scored(row.name, numbers, kept["no_spice"])


def captions_of(data: Path, row: Row) -> tuple[Captions, Captions]:
    """Return the references and the captions of a row; of humans, no captions.

    Raises:
        UserError: The committed file has no captions of this row.
    """
    references = _data(data)[1]
    if row.captions is None:
        return references, {}
    if row.name.decoding == PREDICTIONS:
        said = read_predictions(row.captions)
        return matched(row.captions, said, references, subset=False), tokenise(said)
    said = read_captions(row.captions).get(row.name.decoding)
    if said is None:
        raise UserError(f"{row.captions}: no captions by {row.name.decoding!r}; restore the file")
    return {i: references[i] for i in said}, tokenise(said)


def parsed_by_spice(references: Captions, captions: Captions) -> list[str]:
    """Return what SPICE parses: all references, and of each image the first caption."""
    return [*chain(*references.values()), *(said[0] for said in captions.values())]


def _score(config: Config, data: Path, row: Row, spice: bool | None) -> dict:
    """Plain data of `Scored`, and a caption that had not been parsed, if that is the reason."""
    train, _, scenes = _data(data)
    references, captions = captions_of(data, row)
    no_spice, not_parsed = _against_spice(config, parsed_by_spice(references, captions), spice)
    wanted = "off" if no_spice else "required"
    system, decoding, seed = row.name
    if system == HUMAN:
        scores = score_humans(references, train, scenes, wanted)
    else:
        against = scored_against(references, split="test")
        said = {decoding: captions}
        scores = score_tokenised(references, said, train, scenes, against, spice=wanted)
    cells = rows_of_scores(Layout(config), system, seed, scores)
    numbers = {of["metric"]: [of[name] for name in Numbers._fields] for of in cells}
    return {"numbers": numbers, "no_spice": no_spice, "not_parsed": not_parsed}


def _against_spice(
    config: Config,
    captions: list[str],
    spice: bool | None,
) -> tuple[str | None, str | None]:
    """Why SPICE is not computed, and a caption that has not been parsed; or twice None."""
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
    """Those whose tuples are neither in the user's cache nor shipped with this package."""
    distinct = list(dict.fromkeys(captions))
    with closing(TupleCache(cache_folder() / "tuples.sqlite", parser_key())) as cached:
        found = cached.get(distinct)
    missing = [caption for caption in distinct if caption not in found]
    shipped = known_tuples(missing, parser_key())
    return [caption for caption in missing if caption not in shipped]


@cache
def _data(folder: Path) -> tuple[set[str], Captions, dict[int, Scene] | None]:
    """Tokenised train captions, the test split's references, and scenes, if it is made of them."""
    train = {caption for example in load_examples(folder, "train") for caption in example.tokens}
    scenes = load_scenes(folder) if (folder / _SCENES).exists() else None
    return train, load_references(folder), scenes


@cache
def _work() -> Path:
    return WORK / code_that_scores()[:12]
