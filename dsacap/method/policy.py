"""Drawing captions from the readout's graph, and how likely each is: what reinforcement needs of a parallel decoder.

The probability of a caption is that of the *caption*, summed over all paths that say it (readout.py), not of the path by which it was
drawn, so that other paths that say the same are raised with it.
"""

import torch
from torch import Tensor

from dsacap.captioner import EOS, PAD, UNK, Policy, closed
from dsacap.method.readout import log_likelihood


class GraphPolicy(Policy):
    def __init__(self, words_BGV: Tensor, transitions_BGG: Tensor, max_words: int):
        self.words_BGV, self.transitions_BGG, self.max_words = words_BGV, transitions_BGG, max_words

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        batch, vertices = self.transitions_BGG.shape[:2]
        word_BGV = self.words_BGV.exp()
        word_BGV[..., : UNK + 1] = 0
        step_BGG = self.transitions_BGG.exp()
        step_BGG[:, 0, -1] = 0  # an empty caption is no caption
        step_BGG[:, -1, -1] = 1
        rows = torch.arange(batch, device=word_BGV.device)[:, None]
        vertex_BS = torch.zeros(batch, samples, dtype=torch.long, device=word_BGV.device)
        words, ended = [], []
        for _ in range(self.max_words):
            vertex_BS = _drawn(step_BGG[rows, vertex_BS])
            words.append(_drawn(word_BGV[rows, vertex_BS]))
            ended.append(vertex_BS == vertices - 1)
            if ended[-1].all():
                break
        return closed(torch.stack(words, -1), torch.stack(ended, -1))

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        words_BSL = captions_BSL[..., :-1]
        return log_likelihood(self.words_BGV, self.transitions_BGG, words_BSL.masked_fill(words_BSL == EOS, PAD))


def _drawn(weight_BSX: Tensor) -> Tensor:
    return torch.multinomial(weight_BSX.flatten(0, 1), 1).view(weight_BSX.shape[:2])
