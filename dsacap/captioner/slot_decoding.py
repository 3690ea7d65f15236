"""Captions written all places at once, one place a word: what parallel decoders share, whatever computes their logits.

log p(w_1 .. w_n) = sum_{l <= n} log p_l(w_l) + log p_{n+1}(EOS); what the later places say does not matter. Words are independent given
the image, so this is exact, and captions that mix two references are as likely as their words.
"""

import torch
from torch import Tensor

from dsacap.captioner.batch_parts import multinomial
from dsacap.captioner.interface import Policy, closed, until_eos
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

NEVER = -1e4  # as good as -inf in float32, and its gradient is 0 and not nan


def slot_log_probs(logits_BLV: Tensor) -> Tensor:
    """Log-probabilities of words and EOS [B, L + 1, V]. The last place knows only the end, so that those of all captions sum to 1."""
    logits_BLV = logits_BLV.clone()
    logits_BLV[..., [PAD, BOS]] = NEVER
    logits_BLV[:, -1, EOS + 1 :] = NEVER
    return logits_BLV.log_softmax(-1)


def write_slots(
    words_BLV: Tensor, uniform_BL: Tensor | None = None, temperature: float = 0.0
) -> list[list[int]]:
    """The likeliest word of each place, or one drawn, up to the first EOS; none is empty."""
    log_p_BLV = _writable(words_BLV)
    words_BL = log_p_BLV.argmax(-1)
    if uniform_BL is not None:
        words_BL = inverted((log_p_BLV / temperature).softmax(-1).cumsum(-1), uniform_BL)
    return [until_eos(words) for words in words_BL.tolist()]


class SlotPolicy(Policy):
    def __init__(self, words_BLV: Tensor):
        self.words_BLV = words_BLV

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        p_BLV = _writable(self.words_BLV).softmax(-1)
        words_BSL = (
            multinomial(p_BLV.flatten(0, 1), samples, replacement=True)
            .view(*p_BLV.shape[:2], samples)
            .mT
        )
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


def inverted(cumulative_BSX: Tensor, uniform_BS: Tensor) -> Tensor:
    """The first X at which the cumulative distribution, which need not end at 1, passes the uniform number."""
    below_1 = uniform_BS * (1 - 1e-6)  # or rounding could pass the last X that may be drawn
    return torch.searchsorted(
        cumulative_BSX, (below_1 * cumulative_BSX[..., -1])[..., None], right=True
    )[..., 0]
