"""Searches for captions that are written word by word: beam search and diverse beam search.

Diverse beam search (Vijayakumar et al. 2018, arXiv 1610.02424) has as many groups as captions and
one beam in each: captions are written greedily in turn, and the score of a word is reduced by a
penalty for each earlier caption that has the word at the same position (Hamming diversity). The end
of a caption is not penalised, so captions may end at the same position.
"""

from typing import Protocol

import torch
from torch import Tensor

from dsacap.text.vocabulary import BOS, EOS


class Steps(Protocol):
    """A decoder that writes captions word by word, several of an image in adjacent rows."""

    def step(self, words_B: Tensor, place: int) -> Tensor:
        """Return the logits [B, V] of the word after `words_B`."""

    def reorder(self, rows_B: Tensor) -> None:
        """Let each row continue the words of row `rows_B`."""


def beam_search(
    state: Steps, images: int, beam: int, places: int, length_penalty: float, device: torch.device
) -> list[list[int]]:
    """Return the beam of each image with the best log-probability / length ** length_penalty.

    A beam that has ended repeats EOS at no cost.

    Args:
        state: Has `beam` rows for each image.
        images: The number of images.
        beam: Beams per image.
        places: The longest caption.
        length_penalty: The exponent of the length.
        device: The device of the words.
    """
    words_BKL = torch.full((images, beam, places + 1), EOS, device=device)
    score_BK = torch.full((images, beam), -torch.inf, device=device)
    score_BK[:, 0] = 0  # all beams start out the same: only the first is extended at step 0
    last_BK = torch.full((images, beam), BOS, device=device)
    done_BK = torch.zeros(images, beam, dtype=torch.bool, device=device)
    first_row_B = torch.arange(images, device=device)[:, None] * beam
    for place in range(places):
        log_p = state.step(last_BK.flatten(), place).log_softmax(-1).view(images, beam, -1)
        only_eos = torch.full_like(log_p[0, 0], -torch.inf)
        only_eos[EOS] = 0
        log_p = torch.where(done_BK[..., None], only_eos, log_p)
        score_BK, chosen = (score_BK[..., None] + log_p).flatten(1).topk(beam)
        parent_BK, last_BK = chosen // log_p.shape[-1], chosen % log_p.shape[-1]
        state.reorder((first_row_B + parent_BK).flatten())
        words_BKL = words_BKL.gather(1, parent_BK[..., None].expand_as(words_BKL))
        words_BKL[:, :, place] = last_BK
        done_BK = done_BK.gather(1, parent_BK) | (last_BK == EOS)
        if done_BK.all():
            break
    length_BK = (words_BKL != EOS).sum(-1) + 1
    best_B = (score_BK / length_BK**length_penalty).argmax(-1)
    return words_BKL[torch.arange(images, device=device), best_B].tolist()


def words_in_turn(logits_BV: Tensor, samples: int, penalty: float, done_B: Tensor) -> Tensor:
    """Return the next word of each row, of which `samples` adjacent ones are captions of an image.

    Args:
        logits_BV: Logits of the words, (rows, vocabulary).
        samples: Captions per image.
        penalty: What a word loses for each earlier caption that has it at this position, in nats.
        done_B: Whether the row's caption has ended: it has no word here.
    """
    log_p_BSV = logits_BV.log_softmax(-1).unflatten(0, (-1, samples))
    writes_BS = ~done_B.view(-1, samples)
    taken_BV = torch.zeros_like(log_p_BSV[:, 0])
    chosen = []
    for at in range(samples):
        word_B = (log_p_BSV[:, at] - penalty * taken_BV).argmax(-1)
        is_word_B1 = (writes_BS[:, at] & (word_B != EOS))[:, None]
        taken_BV.scatter_add_(1, word_B[:, None], is_word_B1.to(taken_BV))
        chosen.append(word_B)
    return torch.stack(chosen, 1).flatten()
