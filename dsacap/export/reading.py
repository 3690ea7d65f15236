"""Reading an exported folder.

All files are checked against the index before anything is built from them, and no code from the
folder is run.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner, release_of
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors, sha256
from dsacap.config.parsing import checked_options, decoding_of, parse_section
from dsacap.decoding.train_memory import Images, PhotoMemory
from dsacap.export import encoders
from dsacap.export.description import FORMAT, Description, Index
from dsacap.export.photo_captioner import PhotoCaptioner
from dsacap.text.vocabulary import SPECIALS

T = TypeVar("T")

INDEX, MODEL, VOCABULARY, WEIGHTS = (
    "index.json",
    "model.json",
    "vocabulary.json",
    "captioner.safetensors",
)
STATISTICS, MEMORY = "statistics.safetensors", "memory.safetensors"


def read_folder(folder: Path, device: torch.device) -> PhotoCaptioner:
    """Return the system in a folder that `dsacap export` wrote.

    Args:
        folder: The folder.
        device: Where the captioner and the encoder run.

    Raises:
        UserError: The folder is not an exported system, or a file in it is truncated, changed or
            missing; the message names the file.
    """
    checked = _CheckedFolder(Path(folder))
    description = parse_section(
        Description,
        read_json(checked.path(MODEL)),
        f"{folder}/{MODEL}: not a valid description of a system",
    )
    words = read_json(checked.path(VOCABULARY))
    if (
        not isinstance(words, list)
        or tuple(words[: len(SPECIALS)]) != SPECIALS
        or not all(map(_is_word, words))
    ):
        raise UserError(
            f"{folder}/{VOCABULARY}: not a list of words that begins with {' '.join(SPECIALS)}"
        )
    statistics = read_tensors(checked.path(STATISTICS))[0]
    if {name: tuple(tensor.shape) for name, tensor in statistics.items()} != dict.fromkeys(
        ("mean", "std"), (description.channels,)
    ):
        raise UserError(
            f"{folder}/{STATISTICS}: must contain a mean and a std of {description.channels} "
            "channels each"
        )
    captioner, decodings = _built(
        f"{folder}/{WEIGHTS}",
        lambda: _captioner(description, words, read_tensors(checked.path(WEIGHTS))[0]),
    )
    for name in encoders.files_of(description.encoder):
        checked.path(name)
    return PhotoCaptioner(
        captioner.to(device),
        _built(
            f"{folder}: the encoder",
            lambda: encoders.read_encoder(description.encoder, Path(folder)),
        ),
        statistics["mean"],
        statistics["std"],
        words,
        decodings,
        description.default_decoding,
        description.seed,
        _memory(checked, description, len(words)),
    )


class _CheckedFolder:
    """The files of a folder, each checked against the index before it is used.

    Only files that the reader asks for by name are ever opened.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        if not (folder / INDEX).is_file():
            raise UserError(f"{folder}: has no {INDEX}; give a folder that `dsacap export` wrote")
        index = read_json(folder / INDEX)
        found = index.get("format") if isinstance(index, dict) else None
        if isinstance(found, int) and found != FORMAT:
            raise UserError(
                f"{folder}/{INDEX}: has format {found}, but this version reads {FORMAT}; export "
                "the system again, or use the version of dsacap-bench that wrote it"
            )
        self.index = parse_section(
            Index, index, f"{folder}/{INDEX}: not the index of an exported system"
        )

    def __contains__(self, name: str) -> bool:
        return name in self.index.files

    def path(self, name: str) -> Path:
        """Return the path of a file; raise UserError if it is not as the index describes it."""
        path = self.folder / name
        if name not in self:
            raise UserError(f"{path}: not listed in {INDEX}; copy the whole folder again")
        listed = self.index.files[name]
        if not path.is_file():
            raise UserError(f"{path}: is missing; copy the whole folder again")
        try:
            same = path.stat().st_size == listed.bytes and sha256(path) == listed.sha256
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        if not same:
            raise UserError(
                f"{path}: is truncated or was changed (its size or sha256 is not that in {INDEX}); "
                "copy the whole folder again"
            )
        return path


def _captioner(
    description: Description, words: list[str], weights: dict[str, Tensor]
) -> tuple[Captioner, dict[str, Any]]:
    """Return the captioner with its weights, and the options of its decodings by name."""
    try:
        cls = captioner_class(description.captioner)
        if (here := release_of(description.captioner)) != description.release:
            exported, installed = (
                release or "dsacap-bench itself" for release in (description.release, here)
            )
            raise UserError(
                f"captioner {description.captioner!r} was provided by {exported} at the time of "
                f"export, and is provided by {installed} here; install the former"
            )
        model = checked_options(cls.Model, description.model, "model")
        decodings = {
            name: decoding_of(cls, options, f"decodings.{name}", model)
            for name, options in description.decodings.items()
        }
    except ValueError as error:
        provider = f" (it was provided by {description.release})" if description.release else ""
        raise UserError(f"{MODEL}: {error}{provider}") from None
    spec = ImageSpec(
        description.tokens, description.channels, len(words), description.max_words, tuple(words)
    )
    captioner = load_captioner(description.captioner, description.model, spec)
    captioner.load_state_dict(weights)
    return captioner.eval().requires_grad_(False), decodings


def _is_word(word: object) -> bool:
    """Whether it is text without control characters, which would be commands to a terminal."""
    return isinstance(word, str) and not any(
        unicodedata.category(character) == "Cc" for character in word
    )


def _built(what: str, make: Callable[[], T]) -> T:
    """Return what `make` returns, and turn any error into a UserError about `what`.

    The libraries raise errors of many kinds if sizes do not match each other or the weights.
    """
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        raise UserError(
            f"{what}: cannot be built as {MODEL} describes it ({type(error).__name__}: {message})"
        ) from None


def _memory(checked: _CheckedFolder, description: Description, vocabulary: int) -> PhotoMemory:
    """Return what the folder contains of the train split, which is checked when it is looked up."""
    tensors = read_tensors(checked.path(MEMORY))[0] if MEMORY in checked else {}

    def tensor(name: str) -> Tensor:
        if name not in tensors:
            raise UserError(
                f"{checked.folder}: contains no {name} of the train split, which this decoding "
                "looks up; export the system again"
            )
        return tensors[name]

    def word_ids(name: str) -> Tensor:
        ids = tensor(name)
        if (
            ids.dtype != torch.int32
            or ids.shape[1:] != (description.max_words + 1,)
            or not ((ids >= 0) & (ids < vocabulary)).all()
        ):
            raise UserError(
                f"{checked.folder}/{MEMORY}: tensor {name!r} does not contain captions of the "
                "vocabulary"
            )
        return ids.long()

    def captions() -> Iterator[Sequence[int]]:
        return iter(word_ids("captions").tolist())

    def images() -> Images:
        pooled_IE, firsts_IL = tensor("pooled").float(), word_ids("firsts")
        if pooled_IE.ndim != 2 or len(pooled_IE) != len(firsts_IL):
            raise UserError(
                f"{checked.folder}/{MEMORY}: must contain one vector and one caption for each "
                "train image"
            )
        return pooled_IE, firsts_IL

    return PhotoMemory(captions, images)
