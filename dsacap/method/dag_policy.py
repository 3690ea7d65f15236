"""The policy of the graph readout: drawing captions and computing their probability.

The probability of a caption is summed over all paths that emit it (dag_likelihood.py); it is not
that of the path by which it was drawn. So reinforcement acts on all paths of a caption alike.
"""

import torch
from torch import Tensor

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import Policy
from dsacap.method.dag_expected_ngrams import expected_overlap
from dsacap.method.dag_likelihood import log_likelihood
from dsacap.method.dag_search import draw
from dsacap.text.vocabulary import EOS, PAD


class GraphPolicy(Policy):
    """Distribution over captions given by a graph.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions between vertices.
        max_words: Length at which a drawn caption is cut.
        part: The part of a batch that the graphs are of.
    """

    def __init__(
        self, words_BGV: Tensor, transitions_BGG: Tensor, max_words: int, part: Part = WHOLE
    ):
        self.words_BGV, self.transitions_BGG = words_BGV, transitions_BGG
        self.max_words, self.part = max_words, part

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        """See `Policy.sample`."""
        uniform_BSL2 = self.part.drawn(
            torch.rand, (len(self.words_BGV), samples, self.max_words, 2), self.words_BGV.device
        )
        return draw(self.words_BGV, self.transitions_BGG, uniform_BSL2)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        """See `Policy.log_prob`. A caption of `max_words` words was cut there by `sample`."""
        words_BSL = captions_BSL[..., :-1]
        return log_likelihood(
            self.words_BGV,
            self.transitions_BGG,
            words_BSL.masked_fill(words_BSL == EOS, PAD),
            self.max_words,
        )

    def expected_overlap(self, captions_BRL: Tensor, orders: int, temperature: float) -> Tensor:
        """See `Policy.expected_overlap`."""
        return expected_overlap(
            self.words_BGV, self.transitions_BGG, captions_BRL, orders, temperature
        )
