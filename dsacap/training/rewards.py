"""The rewards of captions by which a system is tuned. Each is computed and logged separately.

A reward is of one caption, or of the set of captions drawn for an image, which keeps a system
diverse: captions that say the same add nothing to a set. The gradient of a set's expected reward,

    grad E R(c_1 .. c_S) = E sum_s (R(c_1 .. c_S) - b_s) grad log p(c_s),

holds for every b_s that does not depend on c_s. R without c_s is one, so that a caption is credited
with what the set would lose without it (difference rewards, Wolpert & Tumer 2001); here it is that
plus what the other captions are credited with on average, in the set without c_s. The mean of the
others' credits in the whole set, RLOO's baseline, depends on c_s and would bias the gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dsacap.config.training import Rewards
from dsacap.data.prepared import Example
from dsacap.training.cider_reward import CiderDReward

if TYPE_CHECKING:
    from dsacap.vision.generators.judges import Captions, Judge

SET_REWARDS = ("coverage", "best")


@dataclass(frozen=True)
class Rewarded:
    """The rewards of the captions of some images.

    Attributes:
        own_BS: The weighted sum of what each caption gets for itself, shape `(batch, samples)`.
        of_set_BS: The weighted sum of its advantages for the set, of the same shape. They are
            multiplied by the number of samples, so that a mean over samples weighs a set's reward
            as it does a caption's.
        parts: The rewards by name, unweighted: of each caption, or of each set `(batch, 1)`.
    """

    own_BS: np.ndarray
    of_set_BS: np.ndarray
    parts: Mapping[str, np.ndarray]


class RewardSum:
    """The weighted sum of the rewards of captions of train images."""

    def __init__(
        self,
        weights: Rewards,
        train_examples: Iterable[Example],
        judges: Mapping[str, Judge] | None = None,
    ):
        """Set up the rewards whose weight is not 0.

        Args:
            weights: The weight of each reward.
            train_examples: The train split, for its references.
            judges: Name of a reward -> judge, for the rewards that depend on the image.
        """
        self.judges = judges or {}
        self.weights = {name: weight for name, weight in weights.model_dump().items() if weight}
        self.references: Mapping[int, list[str]] = {
            e.image_id: [c for c in e.tokens if c] for e in train_examples
        }
        self._cider = CiderDReward(self.references.values())

    def __call__(
        self,
        image_ids: Sequence[int],
        captions_BS: Captions,
        guided: Sequence[bool] | None = None,
    ) -> Rewarded:
        """Score the captions of some images.

        Args:
            image_ids: The ids of the images.
            captions_BS: Tokenised captions, nested as `[image][sample]`.
            guided: For each image, whether its last caption is one of its references, which CIDEr
                then scores by the other references; None: no image's is.
        """
        own = {name: weight for name, weight in self.weights.items() if name not in SET_REWARDS}
        parts = {name: self._part(name)(image_ids, captions_BS) for name in own}
        if guided is not None and "cider" in parts:
            for at in np.flatnonzero(guided).tolist():
                parts["cider"][at, -1] = self._cider_of_guide(image_ids[at], captions_BS[at][-1])
        none_BS = np.zeros((len(captions_BS), len(captions_BS[0])))
        own_BS = sum((weight * parts[name] for name, weight in own.items()), none_BS)
        of_set_BS = none_BS
        for name in (name for name in SET_REWARDS if name in self.weights):
            scores = self._matches(image_ids, captions_BS, name)
            parts[name] = np.array([[_of_set(score_SR)] for score_SR in scores])
            advantages_BS = np.stack([set_advantages(score_SR) for score_SR in scores])
            of_set_BS = of_set_BS + self.weights[name] * advantages_BS
        return Rewarded(own_BS, of_set_BS, parts)

    def _part(self, name: str) -> Callable[[Sequence[int], Captions], np.ndarray]:
        return self.judges[name].score if name in self.judges else getattr(self, f"_{name}_of")

    def _cider_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        samples = len(captions_BS[0])
        flat = [caption for of_image in captions_BS for caption in of_image]
        return self._cider.score(
            [self.references[i] for i in image_ids for _ in range(samples)], flat
        ).reshape(-1, samples)

    def _cider_of_guide(self, image_id: int, guide: str) -> float:
        """Return the CIDEr-D of a reference by the image's other references; 0 without others."""
        others = list(self.references[image_id])
        if guide in others:  # a reference that was cut at the longest length is not among them
            others.remove(guide)
        return float(self._cider.score([others], [guide])[0]) if others else 0.0

    def _matches(
        self, image_ids: Sequence[int], captions_BS: Captions, name: str
    ) -> list[np.ndarray]:
        """Return by image what each caption adds up to in a set's reward: `(samples, targets)`.

        A set's reward is the mean over targets of the best score that a caption of it has.
        `coverage` has the references as targets, each matched by CIDEr-D (the objective of facility
        location); `best` has one, CIDEr-D by all references (the best of k, our reading of it).
        """
        if name == "best":
            return [score_S[:, None] for score_S in self._cider_of(image_ids, captions_BS)]
        samples = len(captions_BS[0])
        flat = [caption for of_image in captions_BS for caption in of_image]
        of_pairs = self._cider.score_pairs(
            [self.references[i] for i in image_ids for _ in range(samples)], flat
        )
        return [np.stack(of_pairs[at : at + samples]) for at in range(0, len(flat), samples)]

    def _repeats_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        return -np.array(
            [[float(repeats(caption)) for caption in of_image] for of_image in captions_BS]
        )

    def _excess_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        longest = [
            max(len(reference.split()) for reference in self.references[i]) for i in image_ids
        ]
        return -np.array(
            [
                [max(0.0, len(c.split()) - most) for c in of_image]
                for most, of_image in zip(longest, captions_BS, strict=True)
            ]
        )


def set_advantages(score_SR: np.ndarray) -> np.ndarray:
    """Return the advantages of an image's captions by the reward of their set, times S.

    The module's docstring has the equation: a caption's credit is what the set loses without it,
    less the mean credit of the others in the set without it.

    Args:
        score_SR: The score of each caption for each target, at least three captions.
    """
    without_S = [np.delete(score_SR, at, axis=0) for at in range(len(score_SR))]
    baseline_S = np.array([_credits(others).mean() for others in without_S])
    return len(score_SR) * (_credits(score_SR) - baseline_S)


def _of_set(score_SR: np.ndarray) -> float:
    return float(score_SR.max(0).mean())


def _credits(score_SR: np.ndarray) -> np.ndarray:
    """Return how much the mean over targets of the best score falls without each caption."""
    second_R, best_R = np.sort(score_SR, axis=0)[-2:]
    return np.where(score_SR == best_R, best_R - second_R, 0).mean(-1)


def repeats(caption: str) -> int:
    """Count repetitions, by which a reward of n-grams is hacked.

    Args:
        caption: A tokenised caption.

    Returns:
        The number of words that follow themselves, plus the number of times that three words in a
        row occur again.
    """
    words = caption.split()
    doubled = sum(a == b for a, b in pairwise(words))
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    return doubled + sum(times - 1 for times in phrases.values())
