"""What a captioning system is built from; systems in other packages import it from here."""

from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    closed,
    until_eos,
)
from dsacap.captioner.memory import Memory
from dsacap.captioner.random_numbers import noise_of
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
