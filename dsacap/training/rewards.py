"""The rewards of captions by which a system is tuned. Each is computed and logged separately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from dsacap.config.training import Rewards
from dsacap.data.prepared import Example
from dsacap.training.cider_reward import CiderDReward

if TYPE_CHECKING:
    from dsacap.vision.generators.judges import Captions, Judge


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
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Score the captions of some images.

        Args:
            image_ids: The ids of the images.
            captions_BS: Tokenised captions, nested as `[image][sample]`.
            guided: For each image, whether its last caption is one of its references, which CIDEr
                then scores by the other references; None: no image's is.

        Returns:
            The weighted sum of shape `(batch, samples)`, and the rewards by name, of the same shape
            and unweighted.
        """
        parts = {name: self._part(name)(image_ids, captions_BS) for name in self.weights}
        if guided is not None and "cider" in parts:
            for at in np.flatnonzero(guided).tolist():
                parts["cider"][at, -1] = self._cider_of_guide(image_ids[at], captions_BS[at][-1])
        return sum(weight * parts[name] for name, weight in self.weights.items()), parts

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

    def _coverage_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        """Return what the coverage of an image's references loses without each caption.

        Coverage is the mean over references of the best CIDEr-D that any caption of the set has
        with it. Equal captions contribute nothing, since the set loses nothing without one of them,
        so a set is rewarded for its differences (our reading of 'rewarding the set'; the objective
        is that of facility location).
        """
        samples = len(captions_BS[0])
        flat = [caption for of_image in captions_BS for caption in of_image]
        of_pairs = self._cider.score_pairs(
            [self.references[i] for i in image_ids for _ in range(samples)], flat
        )
        return np.stack(
            [
                _marginal(np.stack(of_pairs[at : at + samples]))
                for at in range(0, len(flat), samples)
            ]
        )

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


def _marginal(score_SR: np.ndarray) -> np.ndarray:
    """Return how much the mean over references of the best score falls without each caption."""
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
