"""A signature behind every score, in the manner of sacreBLEU (Post 2018): what has to be equal for two numbers to be comparable.

CIDEr-D|df:test-refs|n:4|sigma:6|tok:PTB-3.4.1@sha256:0b7a5c1f2c58|refs:sha256:9f0c0e4d1a77x25010|images:5000|split:test|v:0.1.0
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pycocoevalcap.meteor import meteor
from pycocoevalcap.tokenizer import ptbtokenizer

from dsacap.common.errors import UserError
from dsacap.scoring.metrics.cider import SIGMA
from dsacap.scoring.metrics.known_tuples import known_tuples_id
from dsacap.scoring.metrics.ngrams import HIGHEST
from dsacap.scoring.metrics.spice import ANNOTATORS, parser_id

_DIGITS = 12  # hexadecimal, of a SHA-256: 48 bits
_METEOR = Path(meteor.__file__).parent
GIVEN = "given"  # the captions came tokenised


@dataclass(frozen=True)
class Scored:
    """What scores were made against; the part of the signature that all metrics of one run share."""

    tokenizer: str
    references: str  # their hash and number
    images: int
    split: str | None


def scored_against(
    references: Mapping[int, Sequence[str]], tokenizer: str | None = None, split: str | None = None
) -> Scored:
    """`references` are the tokenised ones, by image id; neither the order of images nor that of an image's captions counts.

    `tokenizer` is `GIVEN` where the files were tokenised already; by default it is the PTB tokeniser, by its jar.
    """
    digest, captions = hashlib.sha256(), 0
    for image_id in sorted(references):
        said = sorted(references[image_id])
        digest.update(json.dumps([image_id, said]).encode() + b"\n")
        captions += len(said)
    return Scored(
        tokenizer or ptb(),
        f"sha256:{digest.hexdigest()[:_DIGITS]}x{captions}",
        len(references),
        split,
    )


def ptb() -> str:
    return f"PTB-3.4.1@{file_hash(Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR))}"


@cache
def file_hash(path: Path) -> str:
    """`sha256:` and the first 12 digits; read once a process (METEOR's paraphrases are 62 MB)."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:_DIGITS]}"


def signature(metric: str, scored: Scored, **parameters: str | int) -> str:
    """The signature of `metric`, a name as it stands in the results.

    What the code fixes (n, sigma, ...) is filled in; `parameters` add what the caller chose, such as k of diversity, `df` of
    `Self-CIDEr` or CLIPScore's encoder, and win over what is filled in. Raises UserError where a part holds a `|`.
    """
    name = "CIDEr-D" if metric == "CIDEr" else metric
    parts = {
        **_fixed(metric),
        **parameters,
        "tok": scored.tokenizer,
        "refs": scored.references,
        "images": scored.images,
        **({"split": scored.split} if scored.split else {}),
        "v": version("dsacap-bench"),
    }
    for key, value in parts.items():
        if "|" in f"{key}{value}":
            raise UserError(
                f"{metric}: {key} {value!r} holds a |, which parts the fields of a signature; name it without"
            )
    return "|".join([name, *(f"{key}:{value}" for key, value in parts.items())])


def _fixed(metric: str) -> dict[str, str | int]:
    if metric.startswith("BLEU-"):
        return {"len": "closest", "smooth": "none", "case": "lower"}
    if metric.startswith("mBLEU-"):
        return {
            "refs-of": "the other captions",
            "mean": "slots",
            "len": "closest",
            "smooth": "none",
        }
    if metric.startswith("Div-"):
        return {"per": "word", "mean": "images"}
    if metric == "METEOR":
        data = _METEOR / "data" / "paraphrase-en.gz"
        return {
            "lang": "en",
            "norm": "yes",
            "jar": f"1.5@{file_hash(_METEOR / meteor.METEOR_JAR)}",
            "paraphrases": file_hash(data),
        }
    if "SPICE" in metric:
        return {
            "corenlp": "3.6.0",
            "annotators": ANNOTATORS,
            "jars": f"sha256:{parser_id()[:_DIGITS]}",
            "known": known_tuples_id(),
        }
    fixed = {
        "ROUGE-L": {"beta": "1.2"},
        "CIDEr": {"df": "test-refs", "n": HIGHEST, "sigma": f"{SIGMA:g}"},
        "Self-CIDEr": {"df": "test-refs", "n": HIGHEST, "kernel": "CIDEr"},
    }
    return fixed.get(metric, {})
