"""Plain parallel slots, each of which predicts a word (Gu et al. 2018, without their fertility)."""

import torch.nn.functional as F
from torch import Tensor

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import ImageSpec
from dsacap.captioner.slot_decoding import SlotPolicy, slot_log_probs, write_slots
from dsacap.method.readout import Readout, Uniform
from dsacap.text.vocabulary import EOS


class Slots(Readout):
    """Readout with one vertex per place in the caption, whose words are independent."""

    searches = ("draw",)
    options = ("temperature",)
    self_conditions = True

    def __init__(self, model, spec: ImageSpec):
        super().__init__(model, spec.max_words + 1, spec.vocabulary)

    def forward(self, image_BND: Tensor) -> Tensor:
        """Return the log-probabilities `(B, L + 1, V)` of words and EOS."""
        return slot_log_probs(self.words(self.states(image_BND)))

    def policy(self, image_BND: Tensor, part: Part = WHOLE) -> SlotPolicy:
        """See `Readout.policy`."""
        return SlotPolicy(self(image_BND), part)

    def expected_words(self, image_BND: Tensor) -> Tensor:
        """See `Readout.expected_words`; a slot is used if no earlier one has emitted EOS."""
        p_BLV = self(image_BND).exp()
        not_ended_BL = (1 - p_BLV[..., EOS]).cumprod(-1)
        return p_BLV * F.pad(not_ended_BL[:, :-1], (1, 0), value=1.0)[..., None]

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """Take or draw the word of each slot, up to the first EOS; see `Readout.decode`."""
        words_BLV = self(image_BND)
        uniform_BL = uniform(words_BLV.shape[1:2]) if decoding.search == "draw" else None
        return write_slots(words_BLV, uniform_BL, decoding.temperature)
