"""Signatures of scores, in the manner of sacreBLEU (Post 2018).

Two numbers are comparable only if their signatures are equal. An example, wrapped here:

    CIDEr-D|df:test-refs|n:4|sigma:6|tok:PTB-3.4.1@sha256:0b7a5c1f2c58
    |refs:sha256:9f0c0e4d1a77x25010|images:5000|split:test|v:0.1.0
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
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

SHOWN_DIGITS = 12  # hexadecimal digits of a SHA-256 that are kept: 48 bits
_METEOR = Path(meteor.__file__).parent
GIVEN = "given"  # the tokeniser of captions that were tokenised already
OWN = "test-refs"  # document frequencies of the references themselves


@dataclass(frozen=True)
class Scored:
    """What captions were scored against: the part of the signature that a run's metrics share."""

    tokenizer: str
    references: str  # the hash and the number of all references
    images: int
    split: str | None
    frequencies: str = OWN  # the document frequencies of CIDEr and Self-CIDEr


def scored_against(
    references: Mapping[int, Sequence[str]], tokenizer: str | None = None, split: str | None = None
) -> Scored:
    """Describe what captions are scored against.

    The result depends neither on the order of the images nor on that of an image's references.

    Args:
        references: Tokenised references by image id.
        tokenizer: `GIVEN` if the files were tokenised already; by default the PTB tokeniser,
            identified by its jar.
        split: The split that the images belong to, if known.
    """
    return Scored(tokenizer or ptb(), hash_of_references(references), len(references), split)


def hash_of_references(references: Mapping[int, Sequence[str]]) -> str:
    """Return `sha256:`, the first 12 digits of a hash of all references, `x` and their number."""
    digest, captions = hashlib.sha256(), 0
    for image_id in sorted(references):
        of_image = sorted(references[image_id])
        digest.update(json.dumps([image_id, of_image]).encode() + b"\n")
        captions += len(of_image)
    return f"sha256:{digest.hexdigest()[:SHOWN_DIGITS]}x{captions}"


def ptb() -> str:
    """Return the field of the PTB tokeniser: its version and the hash of its jar."""
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    return f"PTB-3.4.1@{file_hash(jar)}"


@cache
def file_hash(path: Path) -> str:
    """Return `sha256:` and the first 12 digits of a file's hash.

    Each file is read once per process: METEOR's paraphrases are 62 MB.
    """
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:SHOWN_DIGITS]}"


def signature(metric: str, scored: Scored, **parameters: str | int) -> str:
    """Return the signature of a score.

    Args:
        metric: The name of the metric in the results. Fields that the code fixes for it (n, sigma,
            ...) are filled in.
        scored: The description of what was scored against.
        **parameters: Fields that the caller chose, such as k of diversity, `df` of `Self-CIDEr` or
            the encoder of CLIPScore. They override the fields that are filled in.

    Raises:
        UserError: A field contains a `|`, which separates fields.
    """
    name = "CIDEr-D" if metric == "CIDEr" else metric
    parts = {
        **_fixed(metric, scored),
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
                f"{metric}: {key} {value!r} contains a |, which separates the fields of a"
                " signature; choose a name without it"
            )
    return "|".join([name, *(f"{key}:{value}" for key, value in parts.items())])


def split_shared(signatures: Iterable[str]) -> tuple[list[str], list[str], list[list[str]]]:
    """Split signatures into what they share and what distinguishes them.

    Args:
        signatures: Signatures, one for each metric.

    Returns:
        The fields that are in all of them, the names of the metrics, and the other fields of each.
    """
    parts = [signature.split("|") for signature in signatures]
    in_all = set.intersection(*(set(fields) for _, *fields in parts))
    shared = [field for field in parts[0][1:] if field in in_all]
    own = [[field for field in fields if field not in in_all] for _, *fields in parts]
    return shared, [name for name, *_ in parts], own


def _fixed(metric: str, scored: Scored) -> dict[str, str | int]:
    if metric == "SPIDEr":
        return _fixed("CIDEr", scored) | _fixed("SPICE", scored)
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
            "jars": f"sha256:{parser_id()[:SHOWN_DIGITS]}",
            "known": known_tuples_id(),
        }
    fixed: dict[str, dict[str, str | int]] = {
        "ROUGE-L": {"beta": "1.2"},
        "CIDEr": {"df": scored.frequencies, "n": HIGHEST, "sigma": f"{SIGMA:g}"},
        "Self-CIDEr": {"df": scored.frequencies, "n": HIGHEST, "kernel": "CIDEr"},
    }
    return fixed.get(metric, {})
