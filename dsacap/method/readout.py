"""The readout: a caption in one parallel pass, as a path through a directed acyclic graph (DA-Transformer; Huang et al. 2022).

A non-causal transformer over G learned vertices cross-attends to the image and yields, for every vertex, a distribution over words and
one over later vertices. A caption of n words is the sum over all paths 0 -> v_1 < ... < v_n -> G-1 of the product of transitions and
emissions; vertex 0 (start) and G-1 (end) emit nothing. The sum is exact, by dynamic programming, and so is the likelihood.
"""

import math

import torch
from torch import Tensor, nn

from dsacap.captioner import PAD, UNK
from dsacap.layers import DecoderBlock

_NEVER = -1e4  # as good as -inf in float32, and its gradient is 0 and not nan
_TYPICAL_WORDS = 12  # sets how far a transition reaches at first


class Readout(nn.Module):
    def __init__(
        self,
        vertices: int,
        vocabulary: int,
        width: int,
        heads: int,
        layers: int,
        transition_heads: int,
        dropout: float = 0.0,
        expansion: int = 4,
    ):
        super().__init__()
        self.vertices = nn.Parameter(torch.randn(vertices, width) * 0.02)
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, dropout, expansion) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.words = nn.Linear(width, vocabulary)
        # Transitions look at the hidden state and at the vertex' own place: neighbours must be told apart.
        self.place = nn.Parameter(torch.randn(vertices, width) * 0.02)
        self.from_to = nn.Linear(2 * width, 2 * width)
        self.gate = nn.Linear(2 * width, transition_heads)
        self.distance = nn.Parameter(torch.full((transition_heads,), -0.7 * _TYPICAL_WORDS / vertices))
        later = torch.ones(vertices, vertices, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        gap = torch.arange(vertices)[None] - torch.arange(vertices)[:, None]
        self.register_buffer("gap", gap.float(), persistent=False)

    def forward(self, image_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of words [B, G, V] and of transitions [B, G, G] (row: from, column: to; the last row is void)."""
        x_BGD = self.vertices.expand(len(image_BND), -1, -1)
        for block in self.blocks:
            x_BGD = block(x_BGD, block.cross_attention.keys_values(image_BND))
        x_BGD = self.norm(x_BGD)
        logits_BGV = self.words(x_BGD)
        logits_BGV[..., :UNK] = _NEVER  # UNK may be learned: references hold unknown words; it is never written
        return logits_BGV.log_softmax(-1), self._transitions(x_BGD)

    def _transitions(self, x_BGD: Tensor) -> Tensor:
        x_BG2D = torch.cat([x_BGD, self.place.expand_as(x_BGD)], dim=-1)
        heads = len(self.distance)
        from_BHGD, to_BHGD = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in self.from_to(x_BG2D).chunk(2, dim=-1))
        scores_BHGG = from_BHGD @ to_BHGD.mT / math.sqrt(from_BHGD.shape[-1]) + self.distance[:, None, None] * self.gap
        scores_BHGG = scores_BHGG.masked_fill(~self.later, _NEVER).log_softmax(-1)
        gates_BHG1 = self.gate(x_BG2D).log_softmax(-1).mT[..., None]
        return (gates_BHG1 + scores_BHGG).logsumexp(1).masked_fill(~self.later, _NEVER)


def log_likelihood(words_BGV: Tensor, transitions_BGG: Tensor, captions_BRL: Tensor) -> Tensor:
    """Log-likelihood [B, R] of captions (word ids, PAD from their end on, without EOS), summed over all paths.

    The forward algorithm in log space. A step's sum over the earlier vertices is a matrix product of exponentials, shifted by the
    largest term so that it cannot overflow. Captions of more than G - 2 words have no path: about -1e4 a missing vertex.
    """
    length_BR = (captions_BRL != PAD).sum(-1)
    rows = torch.arange(len(captions_BRL), device=captions_BRL.device)[:, None, None]
    emit_BRLG = words_BGV.mT[rows, captions_BRL]
    step_BGG = transitions_BGG.exp()
    forward_BRG = transitions_BGG[:, None, 0] + emit_BRLG[:, :, 0]
    ends = []
    for at in range(captions_BRL.shape[-1]):
        if at > 0:
            forward_BRG = _log_matmul(forward_BRG, step_BGG) + emit_BRLG[:, :, at]
        ends.append(_log_matmul(forward_BRG, step_BGG[:, :, -1:])[..., 0])
    return torch.stack(ends, dim=-1).gather(-1, length_BR[..., None] - 1)[..., 0]


def _log_matmul(log_x: Tensor, y: Tensor) -> Tensor:
    """log(exp(log_x) @ y)."""
    shift = log_x.detach().amax(-1, keepdim=True)
    return ((log_x - shift).exp() @ y).clamp_min(1e-30).log() + shift
