"""Connectionist temporal classification as a readout.

See Graves et al. 2006 and, for text in parallel, Libovický & Helcl 2018 (arXiv 1811.04719). Each of
G vertices emits a word or a blank, independently. Repetitions are collapsed, then blanks are
removed. With Gamma(w) the sequences of emissions that give the caption w = w_1 .. w_n:

    p(w) = sum_{a in Gamma(w)} prod_g p_g(a_g)

A word that follows itself needs a blank in between.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import ImageSpec, Policy, closed, until_eos
from dsacap.captioner.slot_decoding import NEVER, inverted
from dsacap.method.readout import Readout, Uniform
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

_BLANK = PAD  # no caption contains this id


class CTC(Readout):
    """Readout whose vertices emit words or blanks."""

    searches = ("draw",)
    options = ("temperature",)

    def __init__(self, model, spec: ImageSpec):
        if model.vertices < spec.max_words:
            raise ValueError(
                f"vertices: {model.vertices} cannot hold captions of {spec.max_words} words;"
                f" at least {spec.max_words} are needed"
            )
        super().__init__(model, model.vertices, spec.vocabulary)
        self.max_words = spec.max_words

    def forward(self, image_BND: Tensor) -> Tensor:
        """Return the log-probabilities `(B, G, V)` of words and blank."""
        logits_BGV = self.words(self.states(image_BND))
        logits_BGV[..., BOS : EOS + 1] = NEVER
        return logits_BGV.log_softmax(-1)

    def policy(self, image_BND: Tensor, part: Part = WHOLE) -> "CTCPolicy":
        """See `Readout.policy`."""
        return CTCPolicy(self(image_BND), self.max_words, part)

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """Collapse the likeliest emissions, or ones that are drawn; see `Readout.decode`."""
        log_p_BGV = _writable(self(image_BND))
        if decoding.search == "draw":
            p_BGV = (log_p_BGV / decoding.temperature).softmax(-1)
            emitted_BG = inverted(p_BGV.cumsum(-1), uniform(p_BGV.shape[1:2]))
        else:
            emitted_BG = log_p_BGV.argmax(-1)
        emitted_BG = _never_empty(emitted_BG[:, None], log_p_BGV)[:, 0]
        return [until_eos(words) for words in collapsed(emitted_BG, self.max_words).tolist()]


class CTCPolicy(Policy):
    """Distribution over captions given by the log-probabilities of emissions."""

    def __init__(self, words_BGV: Tensor, max_words: int, part: Part = WHOLE):
        self.words_BGV, self.max_words, self.part = words_BGV, max_words, part

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        """See `Policy.sample`."""
        log_p_BGV = _writable(self.words_BGV)
        p_BGV = log_p_BGV.softmax(-1)
        emitted_BSG = (
            self.part.multinomial(p_BGV.flatten(0, 1), samples, replacement=True)
            .view(*p_BGV.shape[:2], samples)
            .mT
        )
        return collapsed(_never_empty(emitted_BSG, log_p_BGV), self.max_words)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """See `Policy.log_prob`.

        A caption that needs more vertices than there are gets a large negative number, as good as
        -inf, and no gradient.
        """
        words_BSL = captions_BSL > EOS
        repeats_BS = ((captions_BSL[..., 1:] == captions_BSL[..., :-1]) & words_BSL[..., 1:]).sum(
            -1
        )
        length_BS = words_BSL.sum(-1)
        vertices, samples = self.words_BGV.shape[1], captions_BSL.shape[1]
        loss_X = F.ctc_loss(
            self.words_BGV.transpose(0, 1).repeat_interleave(samples, 1),
            captions_BSL.flatten(0, 1),
            torch.full_like(length_BS.flatten(), vertices),
            length_BS.flatten(),
            blank=_BLANK,
            reduction="none",
            zero_infinity=True,
        )
        return (-loss_X.view(length_BS.shape)).masked_fill(length_BS + repeats_BS > vertices, NEVER)


def collapsed(emitted_XG: Tensor, max_words: int) -> Tensor:
    """Collapse emissions into captions: each run of a word counts once, blanks are removed.

    Args:
        emitted_XG: Emitted word ids and blanks of shape `(..., vertices)`.
        max_words: Length at which captions are cut.

    Returns:
        Captions of shape `(..., max_words + 1)`, terminated by EOS and padded with PAD.
    """
    kept_XG = emitted_XG != _BLANK
    kept_XG[..., 1:] &= emitted_XG[..., 1:] != emitted_XG[..., :-1]
    kept_first = kept_XG.long().argsort(dim=-1, descending=True, stable=True)
    words_XL = emitted_XG.gather(-1, kept_first)[..., :max_words]
    return closed(
        words_XL, torch.arange(max_words, device=emitted_XG.device) >= kept_XG.sum(-1, keepdim=True)
    )


def _writable(words_BGV: Tensor) -> Tensor:
    """Exclude unknown words, which are learned but never generated."""
    words_BGV = words_BGV.clone()
    words_BGV[..., UNK] = -torch.inf
    return words_BGV


def _never_empty(emitted_BSG: Tensor, log_p_BGV: Tensor) -> Tensor:
    """Replace an empty caption, all blanks, by the likeliest of all words at its vertex."""
    words_BGV = log_p_BGV.clone()
    words_BGV[..., _BLANK] = -torch.inf
    likeliest_B1 = words_BGV.flatten(1).argmax(-1)[:, None]
    empty_BS = (emitted_BSG == _BLANK).all(-1)
    vertex_BS, word_BS = (
        x.expand_as(empty_BS)
        for x in (likeliest_B1 // words_BGV.shape[-1], likeliest_B1 % words_BGV.shape[-1])
    )
    here_BSG = (
        torch.arange(emitted_BSG.shape[-1], device=emitted_BSG.device) == vertex_BS[..., None]
    )
    return torch.where(empty_BS[..., None] & here_BSG, word_BS[..., None], emitted_BSG)
