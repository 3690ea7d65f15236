"""Captions of a batch by any decoding: a captioner's own, or one that chooses among its captions.

Consensus is minimum Bayes risk decoding (Kumar & Byrne 2004) with CIDEr-D as the gain: it keeps the
drawn caption with the highest mean CIDEr-D against the others. Its document frequencies are those
of the train captions, each of them a document, since each plays the part of one reference.

Reranking keeps the drawn caption with the highest

    [log p(caption | image) - lambda log p(caption | blank image)] / (words + 1),

so that a caption is not preferred because it is likely of any image. The blank image has the mean
of the train images' features, which is 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dsacap.captioner.choice import ChosenDecoding
from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.memory import Memory
from dsacap.scoring.metrics.cider import CiderScorer
from dsacap.scoring.metrics.document_frequencies import Lookup, document_frequencies
from dsacap.scoring.metrics.ngrams import count_ngrams, read_captions
from dsacap.text.vocabulary import EOS, PAD

Words = list[int]


def caption_batch(
    captioner: Captioner, batch: Batch, samples: int, seed: int, decoding: Any
) -> list[list[Words]]:
    """Caption a batch.

    Args:
        captioner: The captioner, in evaluation mode.
        batch: The images.
        samples: Captions per image; a decoding that chooses gives one.
        seed: As for `Captioner.caption`.
        decoding: An instance of the captioner's `Decoding`, or a `ChosenDecoding`.

    Returns:
        Word ids without special ones, nested as `[image][sample][word]`.

    Raises:
        ValueError: Consensus lacks the train captions; call `Captioner.learn_from` first.
        UserError: Reranking needs the exact likelihood of a caption, which the captioner lacks.
    """
    if not isinstance(decoding, ChosenDecoding):
        return captioner.caption(batch, samples, seed, decoding)
    choice = decoding.choice
    drawn = captioner.caption(batch, choice.of, seed, decoding.draws)
    if choice.choose == "rerank":
        chosen = _reranked(captioner, batch, drawn, choice.image_free)
    elif captioner.memory is None:
        raise ValueError("consensus needs the train captions: call learn_from first")
    else:
        chosen = consensus_of(captioner.memory).choose(drawn)
    return [[captions[at]] for captions, at in zip(drawn, chosen, strict=True)]


class Consensus:
    """Choice of the caption that agrees best with the others, by CIDEr-D.

    Args:
        train_captions: Word ids of the train captions, terminated and padded as in a batch.
    """

    def __init__(self, train_captions: Iterable[Sequence[int]]):
        self.frequencies = document_frequencies([_text(words)] for words in train_captions)

    def choose(self, drawn: Sequence[Sequence[Sequence[int]]]) -> list[int]:
        """Return the index of the chosen caption of each image, the first of equally good ones.

        Args:
            drawn: Word ids, nested as `[image][sample][word]`, as many samples for each image.
        """
        texts = [[_text(words) for words in captions] for captions in drawn]
        others = [
            captions[:at] + captions[at + 1 :] for captions in texts for at in range(len(captions))
        ]
        candidates = [caption for captions in texts for caption in captions]
        captions = read_captions(others, candidates, range(len(candidates)))
        scorer = CiderScorer(captions, Lookup(self.frequencies, captions))
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        return np.asarray(scorer.scores()).reshape(len(drawn), -1).argmax(1).tolist()


@lru_cache(maxsize=1)
def consensus_of(memory: Memory) -> Consensus:
    """Return the consensus by the train captions of `memory`, which are counted once."""
    return Consensus(memory.captions())


def _reranked(
    captioner: Captioner, batch: Batch, drawn: Sequence[Sequence[Words]], image_free: float
) -> list[int]:
    captions_BSL = _as_tensor(drawn, batch.features.device)
    blank = replace(batch, features=torch.zeros_like(batch.features))
    given_BS, without_BS = (
        captioner.evidence(images).log_prob(captions_BSL) for images in (batch, blank)
    )
    transitions_BS = (captions_BSL != PAD).sum(-1)  # words and EOS
    return ((given_BS - image_free * without_BS) / transitions_BS).argmax(-1).tolist()


def _as_tensor(captions: Sequence[Sequence[Words]], device: torch.device) -> Tensor:
    longest = 1 + max(len(words) for of_image in captions for words in of_image)
    rows = [
        [[*words, EOS] + [PAD] * (longest - 1 - len(words)) for words in of_image]
        for of_image in captions
    ]
    return torch.tensor(rows, device=device)


def _text(words: Sequence[int]) -> str:
    """Word ids as a tokenised caption, whose words are the ids."""
    return " ".join(str(word) for word in words if word not in (PAD, EOS))
