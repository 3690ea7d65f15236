"""What every captioner is made of. Other packages import it from here; `interface.py` describes it."""

from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Memory,
    Policy,
    by_image,
    closed,
    noise_of,
    until_eos,
)
from dsacap.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "SPECIALS",
    "UNK",
    "Batch",
    "Captioner",
    "ImageSpec",
    "Memory",
    "Policy",
    "by_image",
    "closed",
    "noise_of",
    "until_eos",
]
