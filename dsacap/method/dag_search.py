"""From the readout's graph to a caption: which path, and which word at each of its vertices."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dsacap.captioner.interface import closed
from dsacap.captioner.slot_decoding import inverted
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

_DISCOUNT = 0.75  # of each count; the usual value


def lookahead(words_BGV: Tensor, transitions_BGG: Tensor, max_words: int) -> list[list[int]]:
    """Lookahead decoding (Huang et al. 2022, section 3.3): from each vertex go where transition and best word are jointly likeliest.

    The best next vertex does not depend on the path so far, so all are found at once and the path is read off a table.
    """
    best_BG, word_BG = words_BGV[..., UNK + 1 :].max(-1)
    best_BG = best_BG.clone()
    best_BG[:, -1] = 0  # reaching the end costs its transition alone
    next_BG = (transitions_BGG + best_BG[:, None]).argmax(-1)
    captions = []
    for follow, word in zip(next_BG.tolist(), (word_BG + UNK + 1).tolist(), strict=True):
        caption, vertex = [], follow[0]
        while vertex != len(follow) - 1 and len(caption) < max_words:
            caption.append(word[vertex])
            vertex = follow[vertex]
        captions.append(caption)
    return captions


def viterbi(
    words_BGV: Tensor,
    transitions_BGG: Tensor,
    max_words: int,
    candidates: int,
    bigram_VV: Tensor | None = None,
    bigram_weight: float = 0.0,
    last_B: Tensor | None = None,
) -> list[list[int]]:
    """The path, and the words on it, of the highest log-probability per transition: exact (Viterbi; for such graphs Shao et al. 2022,
    arXiv 2210.05193), among the `candidates` likeliest words of every vertex. No caption is empty.

    `bigram_VV` adds bigram_weight log p(word | word before), from begin to end of the caption, to each transition: two references that
    are mixed along one path then pay where they meet. It depends on neighbours only, so the search stays exact. Where the graph is that
    of the rest of a caption, `last_B` [B] is the word before it, and the rest may be empty.
    """
    batch, vertices = transitions_BGG.shape[:2]
    candidates = min(candidates, words_BGV.shape[-1] - UNK - 1)
    start, end, states = 0, (vertices - 1) * candidates, vertices * candidates
    emit_BGC, word_BGC = (
        x + offset
        for x, offset in zip(words_BGV[..., UNK + 1 :].topk(candidates), (0, UNK + 1), strict=True)
    )
    for vertex, word in ((0, BOS), (-1, EOS)):  # they emit nothing: one state each, which is free
        emit_BGC[:, vertex], word_BGC[:, vertex] = -torch.inf, word
        emit_BGC[:, vertex, 0] = 0
    if last_B is not None:
        word_BGC[:, 0] = last_B[:, None]
    word_BS = word_BGC.flatten(1)
    # A state is a vertex with one of its words. step[b, s', s] is what going to s' from s adds.
    step_BGCGC = transitions_BGG.mT[:, :, None, :, None] + emit_BGC[..., None, None]
    step_BSS = step_BGCGC.expand(-1, -1, -1, -1, candidates).reshape(batch, states, states)
    if bigram_VV is not None:
        said, place_BS = word_BS.unique(
            return_inverse=True
        )  # few of all words: what is looked up then fits the cache
        followed_BSW = (bigram_weight * bigram_VV[said[:, None], said]).T.contiguous()[place_BS]
        step_BSS += followed_BSW.gather(2, place_BS[:, None].expand(-1, states, -1))
    best_BS = step_BSS.new_full((batch, states), -torch.inf)
    best_BS[:, start] = 0
    best_LBS, ends_LB, sum_BSS = (
        [],
        [],
        torch.empty_like(step_BSS),
    )  # one room for all sums: to make it anew costs more than they do
    for _ in range(max_words + 1):
        best_LBS.append(best_BS)
        best_BS = torch.add(best_BS[:, None], step_BSS, out=sum_BSS).amax(2)
        ends_LB.append(best_BS[:, end].clone())
        best_BS[:, end:] = -torch.inf
    score_BL = torch.stack(ends_LB, 1) / torch.arange(
        1, max_words + 2, device=step_BSS.device
    )  # transitions are one more than words
    if last_B is None:
        score_BL[:, 0] = -torch.inf
    length_B = score_BL.argmax(-1)
    rows, state_B, words_LB = (
        torch.arange(batch, device=step_BSS.device),
        torch.full_like(length_B, end),
        [],
    )
    for at in range(int(length_B.max()), 0, -1):  # back from the end, by the step that was the best
        before_B = (best_LBS[at] + step_BSS[rows, state_B]).argmax(-1)
        state_B = torch.where(at <= length_B, before_B, state_B)
        words_LB.append(word_BS[rows, state_B])
    captions = torch.stack(words_LB[::-1], 1).tolist() if words_LB else [[] for _ in range(batch)]
    return [caption[:length] for caption, length in zip(captions, length_B.tolist(), strict=True)]


def draw(
    words_BGV: Tensor, transitions_BGG: Tensor, uniform_BSL2: Tensor, temperature: float = 1.0
) -> Tensor:
    """Captions [B, S, L + 1] drawn from the graph, closed by EOS and filled with PAD: at each of L steps the next vertex, then its word, by
    inverting the cumulative distribution at a pair of uniform numbers. A caption that is longer is cut; none is empty."""
    batch, vertices = transitions_BGG.shape[:2]
    word_BGV = (words_BGV / temperature).softmax(-1)
    word_BGV[..., : UNK + 1] = 0
    step_BGG = (transitions_BGG / temperature).softmax(-1)
    step_BGG[:, 0, -1] = 0  # an empty caption is no caption
    step_BGG[:, -1] = 0
    step_BGG[:, -1, -1] = 1  # who is at the end stays there
    word_BGV, step_BGG = word_BGV.cumsum(-1), step_BGG.cumsum(-1)
    rows = torch.arange(batch, device=words_BGV.device)[:, None]
    vertex_BS = torch.zeros(uniform_BSL2.shape[:2], dtype=torch.long, device=words_BGV.device)
    words, ended = [], []
    for uniform_BS2 in uniform_BSL2.unbind(2):
        vertex_BS = inverted(step_BGG[rows, vertex_BS], uniform_BS2[..., 0])
        words.append(inverted(word_BGV[rows, vertex_BS], uniform_BS2[..., 1]))
        ended.append(vertex_BS == vertices - 1)
        if ended[-1].all():
            break
    return closed(torch.stack(words, -1), torch.stack(ended, -1))


def bigram_model(captions: Iterable[Sequence[int]], vocabulary: int) -> Tensor:
    """log p(word | word before) [V, V] (row: the word before, from BOS on; column: the word, EOS too), by counting in captions (word ids,
    closed by EOS, perhaps filled with PAD): absolute discounting, interpolated with how many words each word follows (Kneser & Ney 1995).

    Holds V * V floats: 26 MB for 2,500 words, 400 MB for 10,000.
    """
    ids = torch.tensor([[BOS, *caption] for caption in captions])
    first, second = ids[:, :-1].flatten(), ids[:, 1:].flatten()
    real = second != PAD
    count_VV = (
        torch.bincount(first[real] * vocabulary + second[real], minlength=vocabulary**2)
        .view(vocabulary, vocabulary)
        .float()
    )
    seen_VV = count_VV > 0
    follows_V = (
        seen_VV.sum(0).float() + 1 / vocabulary
    )  # words that follow none (PAD, BOS) keep a finite logarithm
    total_V1 = count_VV.sum(1, keepdim=True)
    saved_V1 = torch.where(
        total_V1 > 0, _DISCOUNT * seen_VV.sum(1, keepdim=True) / total_V1.clamp_min(1), 1.0
    )
    return (
        (count_VV - _DISCOUNT).clamp_min(0) / total_V1.clamp_min(1)
        + saved_V1 * follows_V / follows_V.sum()
    ).log()
