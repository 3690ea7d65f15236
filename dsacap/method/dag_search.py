"""Search for a caption in the readout's graph: a path, and a word at each of its vertices."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dsacap.captioner.interface import closed
from dsacap.captioner.slot_decoding import inverted
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

_DISCOUNT = 0.75  # subtracted from each count; the usual value


def lookahead(words_BGV: Tensor, transitions_BGG: Tensor, max_words: int) -> list[list[int]]:
    """Go from each vertex to where the transition and the best word are jointly likeliest.

    This is lookahead decoding (Huang et al. 2022, section 3.3). The best next vertex does not
    depend on the path before it, so all of them are computed at once and the path is read from a
    table.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions.
        max_words: Length at which captions are cut.

    Returns:
        The word ids of each row, without special ones.
    """
    best_BG, word_BG = words_BGV[..., UNK + 1 :].max(-1)
    best_BG = best_BG.clone()
    best_BG[:, -1] = 0  # the end emits nothing: reaching it costs only the transition
    next_BG = (transitions_BGG + best_BG[:, None]).argmax(-1)
    captions = []
    for follow, word in torch.stack([next_BG, word_BG + UNK + 1], 1).tolist():
        caption: list[int] = []
        vertex = follow[0]
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
    added_BGC: Tensor | None = None,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Find the path and its words with the highest log-probability per transition.

    The search is exact among the `candidates` likeliest words of every vertex (Viterbi; for such
    graphs Shao et al. 2022, arXiv 2210.05193). No caption is empty.

    With a bigram model, a path that mixes two references pays where they meet. The model depends on
    adjacent words only, so the search stays exact.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions.
        max_words: Longest caption.
        candidates: Number of words considered at each vertex.
        bigram_VV: log p(word | previous word), from BOS to EOS, which is added to each transition.
        bigram_weight: Its weight.
        last_B: If the graph is that of the rest of a caption, the word before it, of shape
            `(batch,)`. The rest may then be empty.
        added_BGC: What is added to the log-probability of each considered word, the likeliest
            first.
        length_penalty: Exponent of the number of transitions by which a path's log-probability is
            divided; above 1 captions become longer.

    Returns:
        The word ids of each row, without special ones.
    """
    batch, vertices = transitions_BGG.shape[:2]
    candidates = considered(candidates, words_BGV)
    start, end, states = 0, (vertices - 1) * candidates, vertices * candidates
    emit_BGC, word_BGC = (
        x + offset
        for x, offset in zip(words_BGV[..., UNK + 1 :].topk(candidates), (0, UNK + 1), strict=True)
    )
    if added_BGC is not None:
        emit_BGC = emit_BGC + added_BGC
    for vertex, word in ((0, BOS), (-1, EOS)):  # they emit nothing: one state each, at no cost
        emit_BGC[:, vertex], word_BGC[:, vertex] = -torch.inf, word
        emit_BGC[:, vertex, 0] = 0
    if last_B is not None:
        word_BGC[:, 0] = last_B[:, None]
    word_BS = word_BGC.flatten(1)
    # A state is a vertex with one of its words. step[b, s', s] is what going from s to s' adds.
    step_BGCGC = transitions_BGG.mT[:, :, None, :, None] + emit_BGC[..., None, None]
    step_BSS = step_BGCGC.expand(-1, -1, -1, -1, candidates).reshape(batch, states, states)
    if bigram_VV is not None:
        # Few words of the vocabulary occur, and a table of these alone fits the processor's cache.
        known, place_BS = word_BS.unique(return_inverse=True)
        followed_BSW = (bigram_weight * bigram_VV[known[:, None], known]).T.contiguous()[place_BS]
        step_BSS += followed_BSW.gather(2, place_BS[:, None].expand(-1, states, -1))
    best_BS = step_BSS.new_full((batch, states), -torch.inf)
    best_BS[:, start] = 0
    best_LBS, ends_LB = [], []
    sum_BSS = torch.empty_like(step_BSS)  # reused: allocating it costs more than the sums
    for _ in range(max_words + 1):
        best_LBS.append(best_BS)
        best_BS = torch.add(best_BS[:, None], step_BSS, out=sum_BSS).amax(2)
        ends_LB.append(best_BS[:, end].clone())
        best_BS[:, end:] = -torch.inf
    transitions_L = torch.arange(1, max_words + 2, device=step_BSS.device)  # one more than words
    score_BL = torch.stack(ends_LB, 1) / transitions_L**length_penalty
    if last_B is None:
        score_BL[:, 0] = -torch.inf
    length_B = score_BL.argmax(-1)
    lengths = length_B.tolist()
    rows = torch.arange(batch, device=step_BSS.device)
    state_B, words_LB = torch.full_like(length_B, end), []
    for at in range(max(lengths), 0, -1):  # trace the best steps back from the end
        before_B = (best_LBS[at] + step_BSS[rows, state_B]).argmax(-1)
        state_B = torch.where(at <= length_B, before_B, state_B)
        words_LB.append(word_BS[rows, state_B])
    captions = torch.stack(words_LB[::-1], 1).tolist() if words_LB else [[] for _ in range(batch)]
    return [caption[:length] for caption, length in zip(captions, lengths, strict=True)]


def considered(candidates: int, words_BGV: Tensor) -> int:
    """Return how many words of a vertex a search considers: no more than there are."""
    return min(candidates, words_BGV.shape[-1] - UNK - 1)


def perturbed(
    words_BGV: Tensor,
    transitions_BGG: Tensor,
    max_words: int,
    candidates: int,
    uniform_BN: Tensor,
    temperature: float,
    bigram_VV: Tensor | None = None,
    bigram_weight: float = 0.0,
    last_B: Tensor | None = None,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Perturb the graph, then find its best caption by `viterbi`.

    This is perturb-and-MAP (Papandreou & Yuille 2011): Gumbel noise times the temperature is added
    to the log-probability of each transition and of each considered word. Unlike `draw`, which
    follows the graph step by step, it returns a caption that is the best as a whole for scores
    close to the graph's own.

    Args:
        words_BGV: As for `viterbi`.
        transitions_BGG: As for `viterbi`.
        max_words: As for `viterbi`.
        candidates: As for `viterbi`; the likeliest words are those before the perturbation.
        uniform_BN: Uniform numbers in [0, 1): G * C for the words, then G * G for the transitions.
        temperature: The scale of the noise.
        bigram_VV: As for `viterbi`.
        bigram_weight: As for `viterbi`.
        last_B: As for `viterbi`.
        length_penalty: As for `viterbi`.

    Returns:
        The word ids of each row, without special ones.
    """
    batch, vertices = transitions_BGG.shape[:2]
    # Zero would become an infinite perturbation; the next number above it is 2^-24.
    noise_BN = -temperature * (-uniform_BN.clamp_min(2**-25).log()).log()
    split = vertices * considered(candidates, words_BGV)
    return viterbi(
        words_BGV,
        transitions_BGG + noise_BN[:, split:].view(batch, vertices, vertices),
        max_words,
        candidates,
        bigram_VV,
        bigram_weight,
        last_B,
        noise_BN[:, :split].view(batch, vertices, -1),
        length_penalty,
    )


def draw(
    words_BGV: Tensor, transitions_BGG: Tensor, uniform_BSL2: Tensor, temperature: float = 1.0
) -> Tensor:
    """Draw captions from the graph.

    Each of L steps draws the next vertex and then its word, by inverting the cumulative
    distributions at a pair of uniform numbers. No caption is empty.

    Args:
        words_BGV: Log-probabilities of words at each vertex.
        transitions_BGG: Log-probabilities of transitions.
        uniform_BSL2: Uniform numbers in [0, 1) for each sample and step. Captions are cut after L
            words.
        temperature: Temperature of words and of transitions.

    Returns:
        Captions of shape `(batch, samples, length)`, where the length is at most L + 1, terminated
        by EOS and padded with PAD.
    """
    batch, vertices = transitions_BGG.shape[:2]
    word_BGV = (words_BGV / temperature).softmax(-1)
    word_BGV[..., : UNK + 1] = 0
    step_BGG = (transitions_BGG / temperature).softmax(-1)
    step_BGG[:, 0, -1] = 0  # no caption is empty
    step_BGG[:, -1] = 0  # the end is absorbing
    step_BGG[:, -1, -1] = 1
    word_BGV, step_BGG = word_BGV.cumsum(-1), step_BGG.cumsum(-1)
    rows = torch.arange(batch, device=words_BGV.device)[:, None]
    vertex_BS = torch.zeros(uniform_BSL2.shape[:2], dtype=torch.long, device=words_BGV.device)
    words, ended = [], []
    for uniform_BS2 in uniform_BSL2.unbind(2):
        vertex_BS = inverted(step_BGG[rows, vertex_BS], uniform_BS2[..., 0])
        words.append(inverted(word_BGV[rows, vertex_BS], uniform_BS2[..., 1]))
        ended.append(vertex_BS == vertices - 1)
        # A GPU takes all L steps in less time than the CPU takes to learn that all captions ended.
        if not words_BGV.is_cuda and ended[-1].all():
            break
    return closed(torch.stack(words, -1), torch.stack(ended, -1))


def bigram_model(captions: Iterable[Sequence[int]], vocabulary: int) -> Tensor:
    """Estimate a bigram model by counting in captions.

    It uses absolute discounting, interpolated with the number of words that each word follows
    (Kneser & Ney 1995). The result has V * V floats: 26 MB for 2,500 words, 400 MB for 10,000.

    Args:
        captions: Word ids, terminated by EOS and perhaps padded with PAD.
        vocabulary: Number of words (V).

    Returns:
        log p(word | previous word) of shape `(V, V)`. Rows are previous words, including BOS, and
        columns are words, including EOS.
    """
    ids = torch.tensor([[BOS, *caption] for caption in captions])
    first, second = ids[:, :-1].flatten(), ids[:, 1:].flatten()
    real = second != PAD
    count_VV = (
        torch.bincount(first[real] * vocabulary + second[real], minlength=vocabulary**2)
        .view(vocabulary, vocabulary)
        .float()
    )
    occurs_VV = count_VV > 0
    # The addend keeps the logarithm finite for words that follow none (PAD, BOS).
    follows_V = occurs_VV.sum(0).float() + 1 / vocabulary
    total_V1 = count_VV.sum(1, keepdim=True)
    saved_V1 = torch.where(
        total_V1 > 0, _DISCOUNT * occurs_VV.sum(1, keepdim=True) / total_V1.clamp_min(1), 1.0
    )
    return (
        (count_VV - _DISCOUNT).clamp_min(0) / total_V1.clamp_min(1)
        + saved_V1 * follows_V / follows_V.sum()
    ).log()
