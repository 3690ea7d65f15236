"""Plain parallel slots: one learned place for each word, each with a distribution of its own (Gu et al. 2018, without their fertility).

log p(w_1 .. w_n) = sum_{l <= n} log p_l(w_l) + log p_{n+1}(EOS); what the later slots say does not matter. Words are independent given
the image, so this is exact, and captions that mix two references are as likely as their words.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.captioner import BOS, EOS, PAD, UNK, ImageSpec, Policy, closed, until_eos
from dsacap.method.readout import NEVER, Readout, Uniform
from dsacap.method.search import inverted


class Slots(Readout):
    searches = ("draw",)
    options = ("temperature",)
    self_conditions = True

    def __init__(self, model, spec: ImageSpec):
        super().__init__(model, spec.max_words + 1, spec.vocabulary)

    def forward(self, image_BND: Tensor) -> Tensor:
        """Log-probabilities of words and EOS [B, L + 1, V]. The last slot knows only the end, so that those of all captions sum to 1."""
        logits_BLV = self.words(self.states(image_BND))
        logits_BLV[..., [PAD, BOS]] = NEVER
        logits_BLV[:, -1, EOS + 1 :] = NEVER
        return logits_BLV.log_softmax(-1)

    def policy(self, image_BND: Tensor) -> "SlotPolicy":
        return SlotPolicy(self(image_BND))

    def expected_words(self, image_BND: Tensor) -> Tensor:
        p_BLV = self(image_BND).exp()
        going_on_BL = (1 - p_BLV[..., EOS]).cumprod(-1)
        return p_BLV * F.pad(going_on_BL[:, :-1], (1, 0), value=1.0)[..., None]  # a slot speaks where none before it has ended

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """The likeliest word of each slot, or one drawn, up to the first EOS."""
        log_p_BLV = _writable(self(image_BND))
        if decoding.search == "draw":
            p_BLV = (log_p_BLV / decoding.temperature).softmax(-1)
            words_BL = inverted(p_BLV.cumsum(-1), uniform(p_BLV.shape[1:2]))
        else:
            words_BL = log_p_BLV.argmax(-1)
        return [until_eos(words) for words in words_BL.tolist()]


class SlotPolicy(Policy):
    def __init__(self, words_BLV: Tensor):
        self.words_BLV = words_BLV

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        p_BLV = _writable(self.words_BLV).softmax(-1)
        words_BSL = torch.multinomial(p_BLV.flatten(0, 1), samples, replacement=True).view(*p_BLV.shape[:2], samples).mT
        ended_BSL = (words_BSL == EOS).cumsum(-1) > 0
        return closed(words_BSL[..., :-1], ended_BSL[..., :-1])

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        log_p_BSL = self.words_BLV[:, : captions_BSL.shape[-1]].gather(-1, captions_BSL.mT).mT
        return log_p_BSL.masked_fill(captions_BSL == PAD, 0).sum(-1)


def _writable(words_BLV: Tensor) -> Tensor:
    """Without what is learned but not written: unknown words, and an empty caption."""
    words_BLV = words_BLV.clone()
    words_BLV[..., UNK] = -torch.inf
    words_BLV[:, 0, EOS] = -torch.inf
    return words_BLV
