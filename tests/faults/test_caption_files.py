"""Thousands of files of captions in every form, sound, odd or damaged.

`validate` and `score` accept the same files, and read them as the plainest code does. What is
accepted is scored as by pycocoevalcap; what is refused changes no file.

    pytest tests/faults -m faults -k caption_files --inputs 10000
"""

import contextlib
import csv
import io
import os
import re
import subprocess
import sys
import zlib
from functools import cache
from itertools import product

import pytest
from caption_files import LAYOUTS, ROLES, cases, plain_reading
from trial import Trial

from dsacap.cli import arguments
from dsacap.cli.reading import reading_of
from dsacap.common import arithmetic
from dsacap.common.files import read_json
from dsacap.data.caption_files.reader import read_captions
from dsacap.evaluation.inputs import Inputs, load_inputs
from dsacap.scoring import result_cache
from dsacap.scoring.metrics.coco_metrics import METRICS
from dsacap.scoring.score import tokenise
from dsacap.text import ptb_tokenizer
from stock import stock_scores, stock_tokenize
from ulps import assert_close_to_stock

_KINDS = list(product(ROLES, LAYOUTS))
_OUTPUTS = ("scores.json", "scores.csv")
_OLD = b"an output of before"
_EACH = 50  # of about so many files that are scored, one has its tokens checked
_run_java = ptb_tokenizer._run


def _run_quickly(text: bytes) -> subprocess.CompletedProcess:
    """Tokenise as Java does, except for contractions and the like.

    Java takes a third of a second to start. Both sides of a comparison are given these tokens, and
    a sample is compared with pycocoevalcap's own.
    """
    lines = [" ".join(re.findall(r"\w+", line.lower())) for line in text.decode().split("\n")]
    return subprocess.CompletedProcess([], 0, "\n".join(lines).encode(), b"")


@pytest.fixture
def quickly(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(ptb_tokenizer, "_run", _run_quickly)
    kept = tmp_path_factory.mktemp("kept scores")
    monkeypatch.setattr(result_cache, "cache_folder", lambda: kept)
    # What every command does in the same way, and what takes longer than reading a small file.
    monkeypatch.setattr(arguments, "parser", cache(arguments.parser))
    monkeypatch.setattr(arithmetic, "choose_before_torch", lambda config: None)
    monkeypatch.setattr(result_cache, "code_that_scores", cache(result_cache.code_that_scores))


@pytest.mark.faults
def test_malformed_caption_files(tried, quickly, stock_meteor, monkeypatch):
    def body(trial, case):
        inputs = _checked(trial, case, stock_meteor, monkeypatch)
        if inputs and zlib.crc32(case.data) % _EACH == 0:
            _check_tokens(inputs, monkeypatch)
            trial.ended["tokens checked"] += 1

    for role, layout in _KINDS:
        tried(cases(role, layout), 1 / len(_KINDS), body)


def test_a_caption_file_of_each_form(tried, quickly, monkeypatch):
    def body(trial, case):
        _checked(trial, case, None, monkeypatch)

    for role, layout in _KINDS:
        tried(cases(role, layout), 1, body, inputs=1)


def _checked(trial: Trial, case, meteor, monkeypatch) -> Inputs | None:
    """Give a file to `validate` and `score`, and compare what they do; return what was scored."""
    file = trial.write(case.role, case.data)
    others = {"predictions": "references", "references": "predictions"}
    other = trial.write(others[case.role], case.other)
    for name in _OUTPUTS:
        trial.write(name, _OLD)
    outputs = [f"--{name.split('.')[1]}={trial.folder / name}" for name in _OUTPUTS]

    def ended(verb: str, *more: str) -> bool:
        with _door(case, file, monkeypatch) as path:
            given = {case.role: path, others[case.role]: other}
            command = (verb, given["predictions"], "--references", given["references"])
            names = (str(path), str(other), "standard input")
            written = _OUTPUTS if verb == "score" else ()
            return trial.command(*command, *case.options, *more, named=names, writes=written)

    accepted = ended("validate")
    assert accepted == ended("score", "--no-spice", *outputs), f"validate said {accepted}"
    if not accepted:
        return None
    trial.ended["scored"] += 1
    given = {case.role: str(file), others[case.role]: str(other)}
    command = ["score", given["predictions"], "--references", given["references"]]
    how = reading_of(arguments.parsed([*command, *case.options]))
    inputs = load_inputs(given["predictions"], given["references"], how)
    form, part = (
        (how.form, how.decoding) if case.role == "predictions" else (how.references_form, how.split)
    )
    found = read_captions(file, form, part)
    plain = plain_reading(case.data, found.form)
    assert plain is None or plain == found.by_image
    trial.ended["read plainly too"] += plain is not None
    _check_scores(trial, inputs, how.tokenized, meteor)
    return inputs


@contextlib.contextmanager
def _door(case, file, monkeypatch):
    """Yield the path under which a command is given the file."""
    if case.door == "file":
        yield file
        return
    reading, writing = os.pipe()
    assert len(case.data) < 60_000  # what a pipe holds while nobody reads
    os.write(writing, case.data)
    os.close(writing)
    with open(reading, "rb") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        yield "-" if case.door == "-" else f"/dev/fd/{reading}"


def _check_scores(trial: Trial, inputs: Inputs, tokenized: bool, meteor) -> None:
    """Compare both outputs with pycocoevalcap's scores of the same pairs."""
    references = inputs.references if tokenized else tokenise(inputs.references)
    firsts = {i: texts[0] for i, texts in tokenise(inputs.captions).items()}
    stock = stock_scores(references, firsts, meteor)
    ours = read_json(trial.folder / "scores.json")["quality"]
    with (trial.folder / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["image_id"] or not row.get("domain")]
    for metric in METRICS:
        values = [ours[metric]["value"], *ours[metric]["per_image"].values()]
        in_csv = [row["value"] for row in rows if row["metric"] == metric]
        assert in_csv == ["" if value is None else repr(value) for value in values]
        if metric == "CIDEr" and len(firsts) == 1:  # stock is 0, for want of other images
            assert values == [None]
            continue
        assert list(ours[metric]["per_image"]) == [str(image) for image in inputs.images.values()]
        if metric not in stock:
            continue
        expected = [stock[metric].corpus, *stock[metric].per_image.values()]
        if metric in ("METEOR", "ROUGE-L"):  # stock rounds these the same on every processor
            assert values == expected, metric
        assert_close_to_stock(values, expected)


def _check_tokens(inputs: Inputs, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ptb_tokenizer, "_run", _run_java)
        for captions in (inputs.references, inputs.captions):
            ours = [text for texts in tokenise(captions).values() for text in texts]
            texts = [text for of_image in captions.values() for text in of_image]
            assert ours == stock_tokenize([_as_stock_takes_it(text) for text in texts])


def _as_stock_takes_it(text: str) -> str:
    """Return a caption without what pycocoevalcap fails on: other line breaks, half characters."""
    return " ".join(text.splitlines()).encode(errors="replace").decode()
