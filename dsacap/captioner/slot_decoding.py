"""Decoding of captions whose words are predicted at all places at once, given the logits.

log p(w_1 .. w_n) = sum_{l <= n} log p_l(w_l) + log p_{n+1}(EOS); later places do not count. Words
are independent given the image, so this is exact, and a caption that mixes two references is as
likely as its words are.
"""

import torch
from torch import Tensor

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import Policy, closed, until_eos
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

NEVER = -1e4  # in float32 as good as -inf, but its gradient is 0 instead of nan


def slot_log_probs(logits_BLV: Tensor) -> Tensor:
    """Return the log-probabilities of words and EOS at each place.

    Only EOS is possible at the last place, so that the probabilities of all captions sum to 1.

    Args:
        logits_BLV: Logits of shape `(batch, max_words + 1, vocabulary)`.

    Returns:
        Log-probabilities of the same shape.
    """
    logits_BLV = logits_BLV.clone()
    logits_BLV[..., : BOS + 1] = NEVER  # PAD and BOS
    logits_BLV[:, -1, EOS + 1 :] = NEVER
    return logits_BLV.log_softmax(-1)


def write_slots(
    words_BLV: Tensor, uniform_BL: Tensor | None = None, temperature: float = 0.0
) -> list[list[int]]:
    """Return the caption of each row: the words before its first EOS, at least one.

    Args:
        words_BLV: Log-probabilities from `slot_log_probs`.
        uniform_BL: Uniform random numbers to draw the words by; None takes the likeliest ones.
        temperature: Temperature at which words are drawn.
    """
    log_p_BLV = _writable(words_BLV)
    words_BL = log_p_BLV.argmax(-1)
    if uniform_BL is not None:
        words_BL = inverted((log_p_BLV / temperature).softmax(-1).cumsum(-1), uniform_BL)
    return [until_eos(words) for words in words_BL.tolist()]


class SlotPolicy(Policy):
    """Captions whose words are independent, with log-probabilities from `slot_log_probs`.

    Args:
        words_BLV: The log-probabilities.
        part: The part of a batch that they are of.
    """

    def __init__(self, words_BLV: Tensor, part: Part = WHOLE):
        self.words_BLV, self.part = words_BLV, part

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        """See `Policy.sample`."""
        p_BLV = _writable(self.words_BLV).softmax(-1)
        words_BSL = (
            self.part.multinomial(p_BLV.flatten(0, 1), samples, replacement=True)
            .view(*p_BLV.shape[:2], samples)
            .mT
        )
        ended_BSL = (words_BSL == EOS).cumsum(-1) > 0
        return closed(words_BSL[..., :-1], ended_BSL[..., :-1])

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """See `Policy.log_prob`."""
        log_p_BSL = self.words_BLV[:, : captions_BSL.shape[-1]].gather(-1, captions_BSL.mT).mT
        return log_p_BSL.masked_fill(captions_BSL == PAD, 0).sum(-1)


def _writable(words_BLV: Tensor) -> Tensor:
    """Exclude what is learned but never generated: unknown words and empty captions."""
    words_BLV = words_BLV.clone()
    words_BLV[..., UNK] = -torch.inf
    words_BLV[:, 0, EOS] = -torch.inf
    return words_BLV


def inverted(cumulative_BSX: Tensor, uniform_BS: Tensor) -> Tensor:
    """Draw from a distribution by inverting its cumulative sums.

    Args:
        cumulative_BSX: Cumulative sums over X, which need not end at 1.
        uniform_BS: Uniform random numbers in [0, 1).

    Returns:
        The first index in X, of shape `(B, S)`, whose sum exceeds the number's share of the total.
    """
    below_1 = uniform_BS * (1 - 1e-6)  # rounding must not lead beyond the last possible index
    return torch.searchsorted(
        cumulative_BSX, (below_1 * cumulative_BSX[..., -1])[..., None], right=True
    )[..., 0]
