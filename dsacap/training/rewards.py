"""What a caption is rewarded for when a system is tuned. Each reward is computed apart, so that its part can be seen."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from dsacap.config.training import Rewards
from dsacap.data.prepared import Example
from dsacap.training.cider_reward import CiderDReward
from dsacap.vision.generators.judges import Captions, Judge


class RewardSum:
    """Weighted sum of rewards of captions of train images."""

    def __init__(
        self,
        weights: Rewards,
        train_examples: Iterable[Example],
        judges: Mapping[str, Judge] | None = None,
    ):
        """`judges` by the name of their reward, for those that look at the picture and have a weight."""
        self.judges = judges or {}
        self.weights = {name: weight for name, weight in weights.model_dump().items() if weight}
        self.references: Mapping[int, list[str]] = {
            e.image_id: [c for c in e.tokens if c] for e in train_examples
        }
        self._cider = CiderDReward(self.references.values())

    def __call__(
        self, image_ids: Sequence[int], captions_BS: Captions
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The sum [B, S], and its parts by name, each [B, S] and not weighted."""
        parts = {name: self._part(name)(image_ids, captions_BS) for name in self.weights}
        return sum(weight * parts[name] for name, weight in self.weights.items()), parts

    def _part(self, name: str) -> Callable[[Sequence[int], Captions], np.ndarray]:
        return self.judges[name].score if name in self.judges else getattr(self, f"_{name}_of")

    def _cider_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        samples = len(captions_BS[0])
        flat = [caption for of_image in captions_BS for caption in of_image]
        return self._cider.score(
            [self.references[i] for i in image_ids for _ in range(samples)], flat
        ).reshape(-1, samples)

    def _coverage_of(self, image_ids: Sequence[int], captions_BS: Captions) -> np.ndarray:
        """Of the mean over references of the best CIDEr-D that a caption of the set has with it: the part that the set loses without
        this caption. Captions that say the same are worth nothing to each other's set, so that a set is paid for its differences
        (our reading of 'rewarding the set'; the objective is that of facility location)."""
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
        longest = [max(len(said.split()) for said in self.references[i]) for i in image_ids]
        return -np.array(
            [
                [max(0.0, len(c.split()) - most) for c in said]
                for most, said in zip(longest, captions_BS, strict=True)
            ]
        )


def _marginal(score_SR: np.ndarray) -> np.ndarray:
    """[S]: mean over R of what the best of all has over the best of the others."""
    second_R, best_R = np.sort(score_SR, axis=0)[-2:]
    return np.where(score_SR == best_R, best_R - second_R, 0).mean(-1)


def repeats(caption: str) -> int:
    """Words that follow themselves, and three words in a row that stood before: what a reward of n-grams is hacked by."""
    words = caption.split()
    doubled = sum(a == b for a, b in pairwise(words))
    phrases = Counter(zip(words, words[1:], words[2:], strict=False))
    return doubled + sum(times - 1 for times in phrases.values())
