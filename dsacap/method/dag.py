"""The directed acyclic graph: a caption in one parallel pass, as a path (DA-Transformer).

See Huang et al. 2022. Every vertex has a distribution over words and one over later vertices. The
probability of a caption of n words is the sum, over all paths 0 -> v_1 < ... < v_n -> G-1, of the
product of transitions and emissions; vertex 0 (start) and G-1 (end) emit nothing. The sum is exact,
by dynamic programming, and so is the likelihood.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dsacap.captioner.batch_parts import WHOLE, Part
from dsacap.captioner.interface import ImageSpec, until_eos
from dsacap.captioner.memory import Memory
from dsacap.captioner.slot_decoding import NEVER
from dsacap.method.dag_glancing import emitting, shown_words
from dsacap.method.dag_likelihood import after, log_likelihood, passage
from dsacap.method.dag_policy import GraphPolicy
from dsacap.method.dag_search import (
    bigram_model,
    considered,
    draw,
    lookahead,
    perturbed,
    viterbi,
)
from dsacap.method.inspection import Graph, graph_of
from dsacap.method.readout import Readout, Uniform
from dsacap.text.vocabulary import EOS, PAD, UNK

_TYPICAL_WORDS = 12  # sets the initial preference for near vertices


class DirectedAcyclic(Readout):
    """Readout whose vertices form a directed acyclic graph with learned transitions."""

    searches = ("lookahead", "viterbi", "draw", "perturb")
    options = ("candidates", "bigram_weight", "length_penalty", "temperature")
    self_conditions = True
    completes = True

    later: Tensor
    gap: Tensor

    def __init__(self, model, spec: ImageSpec):
        if model.vertices < spec.max_words + 2:
            raise ValueError(
                f"vertices: {model.vertices} cannot hold captions of {spec.max_words} words;"
                f" at least {spec.max_words + 2} are needed"
            )
        super().__init__(model, model.vertices, spec.vocabulary)
        self.spec, self.glance = spec, model.glance
        self._memory: Memory | None = None
        self._bigram_VV: Tensor | None = None  # of the train captions, once it is needed
        # Transitions depend on the hidden state and on the vertex itself, because neighbours, whose
        # states can be alike, must be distinguished.
        self.place = nn.Parameter(torch.randn(model.vertices, model.width) * 0.02)
        self.from_to = nn.Linear(2 * model.width, 2 * model.width)
        self.gate = nn.Linear(2 * model.width, model.transition_heads)
        self.distance = nn.Parameter(
            torch.full((model.transition_heads,), -0.7 * _TYPICAL_WORDS / model.vertices)
        )
        later = torch.ones(model.vertices, model.vertices, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        gap = torch.arange(model.vertices)[None] - torch.arange(model.vertices)[:, None]
        self.register_buffer("gap", gap.float(), persistent=False)

    def forward(self, image_BND: Tensor, shown_BG: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the graph of each row.

        Args:
            image_BND: The denoiser's hidden states.
            shown_BG: The word that each vertex is shown and emits, or PAD (dag_glancing.py).

        Returns:
            Log-probabilities of words `(B, G, V)` and of transitions `(B, G, G)`, from the vertex
            of the row to that of the column; the last row has no meaning.
        """
        shown_BGD = None
        if shown_BG is not None:
            shown_BGD = self.words.weight[shown_BG] * (shown_BG != PAD)[..., None]
        x_BGD = self.states(image_BND, shown_BGD)
        logits_BGV = self.words(x_BGD)
        # UNK is learned, because references contain unknown words, but it is never generated.
        logits_BGV[..., :UNK] = NEVER
        words_BGV = logits_BGV.log_softmax(-1)
        if shown_BG is not None:
            words_BGV = emitting(words_BGV, shown_BG)
        return words_BGV, self._transitions(x_BGD)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """See `Captioner.speed_up`."""
        self.forward = compiled(self.forward)  # type: ignore[method-assign]  # per instance

    def _transitions(self, x_BGD: Tensor) -> Tensor:
        x_BG2D = torch.cat([x_BGD, self.place.expand_as(x_BGD)], dim=-1)
        heads = len(self.distance)
        from_BHGD, to_BHGD = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in self.from_to(x_BG2D).chunk(2, dim=-1)
        )
        scores_BHGG = (
            from_BHGD @ to_BHGD.mT / math.sqrt(from_BHGD.shape[-1])
            + self.distance[:, None, None] * self.gap
        )
        scores_BHGG = scores_BHGG.masked_fill(~self.later, NEVER).log_softmax(-1)
        gates_BHG1 = self.gate(x_BG2D).log_softmax(-1).mT[..., None]
        return (gates_BHG1 + scores_BHGG).logsumexp(1).masked_fill(~self.later, NEVER)

    def policy(self, image_BND: Tensor, part: Part = WHOLE) -> GraphPolicy:
        """See `Readout.policy`."""
        words_BGV, transitions_BGG = self(image_BND)
        return GraphPolicy(words_BGV, transitions_BGG, self.spec.max_words, part)

    def log_prob(self, image_BND: Tensor, captions_BRL: Tensor, part: Part = WHOLE) -> Tensor:
        """See `Readout.log_prob`. References end where they are cut, as for all other systems."""
        words_BRL = captions_BRL[..., :-1]
        words_BRL = words_BRL.masked_fill(words_BRL == EOS, PAD)
        shown_BG = None
        if self.glance and self.training:
            with torch.no_grad():
                words_BGV, transitions_BGG = self(image_BND)
            shown_BG = shown_words(words_BGV, transitions_BGG, words_BRL, self.glance, part)
        return log_likelihood(*self(image_BND, shown_BG), words_BRL)

    def expected_words(self, image_BND: Tensor) -> Tensor:
        """See `Readout.expected_words`."""
        words_BGV, transitions_BGG = self(image_BND)
        return words_BGV.exp() * passage(transitions_BGG)[..., None]

    def decode(self, image_BND: Tensor, decoding, uniform: Uniform) -> list[list[int]]:
        """See `Readout.decode`."""
        words_BGV, transitions_BGG = self(image_BND)
        return self._search(words_BGV, transitions_BGG, self.spec.max_words, decoding, uniform)

    def complete(
        self, image_BND: Tensor, decoding, uniform: Uniform, prefix_BP: Tensor
    ) -> list[list[int]]:
        """See `Readout.complete`."""
        words_BGV, transitions_BGG = self(image_BND)
        follows_BGG = after(words_BGV, transitions_BGG, prefix_BP)
        left = self.spec.max_words - prefix_BP.shape[1]
        rest = self._search(words_BGV, follows_BGG, left, decoding, uniform, prefix_BP[:, -1])
        return [prefix + words for prefix, words in zip(prefix_BP.tolist(), rest, strict=True)]

    def graphs(self, image_BND: Tensor, captions: list[list[int]]) -> list[Graph]:
        """See `Readout.graphs`."""
        return [graph_of(*of_image) for of_image in zip(*self(image_BND), captions, strict=True)]

    def _search(
        self,
        words_BGV: Tensor,
        transitions_BGG: Tensor,
        max_words: int,
        decoding,
        uniform: Uniform,
        last_B: Tensor | None = None,
    ) -> list[list[int]]:
        if decoding.search == "draw":
            drawn_BL = draw(
                words_BGV, transitions_BGG, uniform((max_words, 2))[:, None], decoding.temperature
            )[:, 0]
            return [until_eos(words) for words in drawn_BL.tolist()]
        if decoding.search not in ("viterbi", "perturb"):
            return lookahead(words_BGV, transitions_BGG, max_words)
        bigram_VV = self._bigrams_on(words_BGV.device) if decoding.bigram_weight else None
        graph = words_BGV, transitions_BGG, max_words, decoding.candidates
        bigrams = bigram_VV, decoding.bigram_weight, last_B
        if decoding.search == "viterbi":
            return viterbi(*graph, *bigrams, length_penalty=decoding.length_penalty)
        vertices = transitions_BGG.shape[1]
        numbers = vertices * (considered(decoding.candidates, words_BGV) + vertices)
        return perturbed(
            *graph, uniform((numbers,)), decoding.temperature, *bigrams, decoding.length_penalty
        )

    def learn_from(self, memory: Memory) -> None:
        """See `Captioner.learn_from`; only the bigram model uses it."""
        self._memory, self._bigram_VV = memory, None

    def _bigrams_on(self, device: torch.device) -> Tensor:
        # It is kept where it was needed last: with COCO's words it has 400 MB, and to send it to a
        # GPU for each batch would take longer than all the rest.
        if self._bigram_VV is None:
            if self._memory is None:
                raise ValueError("a bigram_weight needs the train captions: call learn_from first")
            self._bigram_VV = bigram_model(self._memory.captions(), self.spec.vocabulary)
        if self._bigram_VV.device != device:
            self._bigram_VV = self._bigram_VV.to(device)
        return self._bigram_VV
