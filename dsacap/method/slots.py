"""Plain parallel slots: one learned place for each word, each with a distribution of its own (Gu et al. 2018, without their fertility)."""

import torch.nn.functional as F
from torch import Tensor

from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs, write_slots
from dsacap.method.readout import Readout, Uniform
from dsacap.text.vocabulary import EOS


class Slots(Readout):
    searches = ("draw",)
    options = ("temperature",)
    self_conditions = True

    def __init__(self, model, spec: ImageSpec):
        super().__init__(model, spec.max_words + 1, spec.vocabulary)

    def forward(self, image_BND: Tensor) -> Tensor:
        """Log-probabilities of words and EOS [B, L + 1, V]."""
        return slot_log_probs(self.words(self.states(image_BND)))

    def policy(self, image_BND: Tensor) -> SlotPolicy:
        return SlotPolicy(self(image_BND))

    def expected_words(self, image_BND: Tensor) -> Tensor:
        p_BLV = self(image_BND).exp()
        going_on_BL = (1 - p_BLV[..., EOS]).cumprod(-1)
        return (
            p_BLV * F.pad(going_on_BL[:, :-1], (1, 0), value=1.0)[..., None]
        )  # a slot speaks where none before it has ended

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """The likeliest word of each slot, or one drawn, up to the first EOS."""
        words_BLV = self(image_BND)
        uniform_BL = uniform(words_BLV.shape[1:2]) if decoding.search == "draw" else None
        return write_slots(words_BLV, uniform_BL, decoding.temperature)
