"""An exported folder, read: checked against its index first, then built. Nothing of it is believed before, and no code of it is run."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from dsacap.captioner.interface import Captioner, ImageSpec
from dsacap.captioner.registry import captioner_class, load_captioner, release_of
from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_tensors, sha256
from dsacap.config.experiment import checked_options, parse_section
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
    """The system in a folder that `dsacap export` wrote. UserError names the file, where it is torn, changed or not such a folder."""
    checked = _Checked(Path(folder))
    described = parse_section(
        Description,
        read_json(checked.path(MODEL)),
        f"{folder}/{MODEL}: describes no system known here",
    )
    words = read_json(checked.path(VOCABULARY))
    if (
        not isinstance(words, list)
        or tuple(words[: len(SPECIALS)]) != SPECIALS
        or not all(map(_is_word, words))
    ):
        raise UserError(
            f"{folder}/{VOCABULARY}: no list of words that begins with {' '.join(SPECIALS)}"
        )
    statistics = read_tensors(checked.path(STATISTICS))[0]
    if {name: tuple(tensor.shape) for name, tensor in statistics.items()} != dict.fromkeys(
        ("mean", "std"), (described.channels,)
    ):
        raise UserError(
            f"{folder}/{STATISTICS}: needs a mean and a std of {described.channels} channels each"
        )
    captioner, decodings = _built(
        f"{folder}/{WEIGHTS}",
        lambda: _captioner(described, words, read_tensors(checked.path(WEIGHTS))[0]),
    )
    for name in encoders.files_of(described.encoder):
        checked.path(name)
    return PhotoCaptioner(
        captioner.to(device),
        _built(
            f"{folder}: the encoder", lambda: encoders.read_encoder(described.encoder, Path(folder))
        ),
        statistics["mean"],
        statistics["std"],
        words,
        decodings,
        described.default_decoding,
        described.seed,
        _memory(checked, described, len(words)),
    )


class _Checked:
    """The files of a folder as its index lists them. Only names that the reader asks for are ever opened."""

    def __init__(self, folder: Path):
        self.folder = folder
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        if not (folder / INDEX).is_file():
            raise UserError(f"{folder}: has no {INDEX}; name a folder that `dsacap export` wrote")
        index = read_json(folder / INDEX)
        found = index.get("format") if isinstance(index, dict) else None
        if isinstance(found, int) and found != FORMAT:
            raise UserError(
                f"{folder}/{INDEX}: format {found}, this version reads {FORMAT}; export it anew, or use the version that wrote it"
            )
        self.index = parse_section(
            Index, index, f"{folder}/{INDEX}: no index of an exported system"
        )

    def __contains__(self, name: str) -> bool:
        return name in self.index.files

    def path(self, name: str) -> Path:
        """Of a file that is as the index says."""
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
                f"{path}: is torn or was changed (not the size and sha256 of {INDEX}); copy the whole folder again"
            )
        return path


def _captioner(
    described: Description, words: list[str], weights: dict[str, Tensor]
) -> tuple[Captioner, dict]:
    try:
        cls = captioner_class(described.captioner)
        if (here := release_of(described.captioner)) != described.release:
            theirs, here = (
                release or "dsacap-bench itself" for release in (described.release, here)
            )
            raise UserError(
                f"captioner {described.captioner!r} is of {theirs}, and here is that of {here}; install the former"
            )
        model = checked_options(cls.Model, described.model, "model")
        decodings = {
            name: checked_options(cls.Decoding, options, f"decodings.{name}")
            for name, options in described.decodings.items()
        }
        for decoding in decodings.values():
            cls.check(model, decoding)
    except ValueError as error:
        brought = f" (it was brought by {described.release})" if described.release else ""
        raise UserError(f"{MODEL}: {error}{brought}") from None
    spec = ImageSpec(
        described.tokens, described.channels, len(words), described.max_words, tuple(words)
    )
    captioner = load_captioner(described.captioner, described.model, spec)
    captioner.load_state_dict(weights)
    return captioner.eval().requires_grad_(False), decodings


def _is_word(word: object) -> bool:
    """Control characters would be commands to a terminal."""
    return isinstance(word, str) and not any(
        unicodedata.category(character) == "Cc" for character in word
    )


def _built(what: str, make: Callable[[], T]) -> T:
    """What `make` makes. Sizes that fit neither each other nor the weights raise whatever the libraries like."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(
            f"{what}: cannot be made of what {MODEL} says ({type(error).__name__}: {said})"
        ) from None


def _memory(checked: _Checked, described: Description, vocabulary: int) -> PhotoMemory:
    """What the folder carries of the train split; looked at when it is looked up."""
    tensors = read_tensors(checked.path(MEMORY))[0] if MEMORY in checked else {}

    def kept(name: str) -> Tensor:
        if name not in tensors:
            raise UserError(
                f"{checked.folder}: carries no {name} of the train split, which this decoding looks up; export it anew"
            )
        return tensors[name]

    def word_ids(name: str) -> Tensor:
        ids = kept(name)
        if (
            ids.dtype != torch.int32
            or ids.shape[1:] != (described.max_words + 1,)
            or not ((ids >= 0) & (ids < vocabulary)).all()
        ):
            raise UserError(f"{checked.folder}/{MEMORY}: {name} are no captions of the vocabulary")
        return ids.long()

    def captions() -> Iterator[Sequence[int]]:
        return iter(word_ids("captions").tolist())

    def images() -> Images:
        pooled_IE, firsts_IL = kept("pooled").float(), word_ids("firsts")
        if pooled_IE.ndim != 2 or len(pooled_IE) != len(firsts_IL):
            raise UserError(
                f"{checked.folder}/{MEMORY}: needs a vector and a caption of each train image"
            )
        return pooled_IE, firsts_IL

    return PhotoMemory(captions, images)
