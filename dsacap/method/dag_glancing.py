"""Glancing: training shows some words of a reference to the graph that is to emit them.

See Qian et al. 2021 (arXiv 2008.07905) for parallel decoders, and Huang et al. 2022 (arXiv
2205.07459), section 3.3, for graphs: a reference's words are assigned to the vertices of its best
path, and the more of them the graph has wrong, the more are shown. Our readings: the share of them
is constant (published: .5, falling to .1), and of several references the likeliest is shown.
"""

import torch
from torch import Tensor

from dsacap.captioner.batch_parts import Part
from dsacap.captioner.reference_loss import per_word
from dsacap.captioner.slot_decoding import NEVER
from dsacap.method.dag_likelihood import exact, log_likelihood
from dsacap.text.vocabulary import PAD


@torch.no_grad()
def shown_words(
    words_BGV: Tensor, transitions_BGG: Tensor, captions_BRL: Tensor, share: float, part: Part
) -> Tensor:
    """Choose the words that are shown.

    Args:
        words_BGV: Log-probabilities of words at each vertex, when nothing is shown.
        transitions_BGG: Log-probabilities of transitions, from row to column.
        captions_BRL: References, without EOS and padded with PAD.
        share: The number of words shown, per word that the graph has wrong.
        part: The part of a batch that they are of.

    Returns:
        The word that is shown at each vertex `(B, G)`, or PAD.
    """
    rows_B = torch.arange(len(captions_BRL), device=captions_BRL.device)
    log_p_BR = log_likelihood(words_BGV, transitions_BGG, captions_BRL)
    caption_BL = captions_BRL[rows_B, per_word(log_p_BR, captions_BRL).argmax(-1)]
    is_word_BL = caption_BL != PAD
    path_BL = best_path(words_BGV, transitions_BGG, caption_BL)
    wrong_BL = is_word_BL & (words_BGV.argmax(-1).gather(1, path_BL) != caption_BL)
    # The first vertex emits nothing, so PAD can be written to it.
    at_BG = caption_BL.new_full(words_BGV.shape[:2], PAD).scatter(
        1, path_BL.masked_fill(~is_word_BL, 0), caption_BL
    )
    chance_BG = part.drawn(torch.rand, at_BG.shape, at_BG.device).masked_fill(at_BG == PAD, 2)
    shown_B1 = (share * wrong_BL.sum(-1, keepdim=True)).round()
    return at_BG.masked_fill(chance_BG.argsort(-1).argsort(-1) >= shown_B1, PAD)


def emitting(words_BGV: Tensor, shown_BG: Tensor) -> Tensor:
    """Return `words_BGV`, but with certainty of the word at each vertex where one is shown."""
    certain_BGV = torch.full_like(words_BGV, NEVER).scatter(-1, shown_BG[..., None], 0)
    return torch.where((shown_BG == PAD)[..., None], words_BGV, certain_BGV)


@exact
def best_path(words_BGV: Tensor, transitions_BGG: Tensor, captions_BL: Tensor) -> Tensor:
    """Return the likeliest path that emits a caption.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions, from row to column.
        captions_BL: Captions of a word or more, without EOS and padded with PAD.

    Returns:
        The vertex `(B, L)` that emits each word; without meaning beyond a caption's end.
    """
    rows_B = torch.arange(len(captions_BL), device=captions_BL.device)
    emit_BLG = words_BGV.mT[rows_B[:, None], captions_BL]
    stay_G = torch.arange(words_BGV.shape[1], device=words_BGV.device)
    score_BG = transitions_BGG[:, 0] + emit_BLG[:, 0]
    before: list[Tensor] = []
    for at in range(1, captions_BL.shape[1]):
        is_word_B1 = captions_BL[:, at, None] != PAD
        best_BG, from_BG = (score_BG[..., None] + transitions_BGG).max(1)
        score_BG = torch.where(is_word_B1, best_BG + emit_BLG[:, at], score_BG)
        before.append(torch.where(is_word_B1, from_BG, stay_G))
    path = [(score_BG + transitions_BGG[:, :, -1]).argmax(-1)]
    for from_BG in reversed(before):
        path.append(from_BG[rows_B, path[-1]])
    return torch.stack(path[::-1], -1)
