from itertools import product

import numpy as np
import open_clip
import pytest
import timm
import torch

from dsacap.common.errors import UserError
from dsacap.common.files import write_tensors
from dsacap.config.encoder import Encoder
from dsacap.config.training import Rewards
from dsacap.data.coco import CaptionedImage
from dsacap.data.prepared import Example, load_examples
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_configured_encoder, load_text_encoder, photo_sources
from dsacap.training.cider_reward import CiderDReward
from dsacap.training.rewards import RewardSum, repeats, set_advantages
from dsacap.vision.encoders.tiny_clip import normalised
from dsacap.vision.features.encode import pixels_of
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import embedding
from dsacap.vision.generators.judges import ClipAlignment, Reconstruction

REFERENCES = {
    7: ["a red circle", "a circle on the left"],
    8: ["a blue bar", "a blue bar and a ring"],
    9: ["two rings", ""],
}


def example(image_id: int, captions: list[str]) -> Example:
    return Example(
        CaptionedImage(image_id, "train", "x.png", "train", tuple(captions)), tuple(captions)
    )


@pytest.fixture
def examples() -> list[Example]:
    return [example(*item) for item in REFERENCES.items()]


def test_the_sum_is_weighted_and_its_parts_are_not(examples):
    captions = [["a blue bar", "a bar bar"], ["two rings", "one two three four five six seven"]]
    rewarded = RewardSum(Rewards(cider=2.0, repeats=0.5, excess=0.1), examples)([8, 9], captions)
    total, parts = rewarded.own_BS, rewarded.parts
    references = [[c for c in of_image if c] for of_image in REFERENCES.values()]
    _, of_8, of_9 = references
    cider = CiderDReward(references).score(
        [of_8, of_8, of_9, of_9], [c for of_image in captions for c in of_image]
    )
    assert parts["cider"].tolist() == cider.reshape(2, 2).tolist()
    assert parts["repeats"].tolist() == [[0, -1], [0, 0]]
    assert parts["excess"].tolist() == [[0, 0], [0, -5]]
    np.testing.assert_allclose(
        total, 2 * parts["cider"] + 0.5 * parts["repeats"] + 0.1 * parts["excess"]
    )
    assert total[0, 0] > total[0, 1]


def test_a_guide_is_scored_by_the_other_references(examples):
    captions = [["a blue bar", "a blue bar and a ring"], ["two rings", "two rings"]]
    reward = RewardSum(Rewards(cider=1.0), examples)
    plain = reward([8, 9], captions).parts
    rewarded = reward([8, 9], captions, [True, False])
    parts = rewarded.parts
    assert rewarded.own_BS.tolist() == parts["cider"].tolist()
    references = [[c for c in of_image if c] for of_image in REFERENCES.values()]
    alone = CiderDReward(references).score([["a blue bar"]], ["a blue bar and a ring"])
    assert parts["cider"][0].tolist() == [plain["cider"][0, 0], alone[0]]
    assert alone[0] < plain["cider"][0, 1]
    assert parts["cider"][1].tolist() == plain["cider"][1].tolist()
    assert reward([9], [["x", "two rings"]], [True]).parts["cider"][0, 1] == 0  # it has no other


def test_a_reward_without_weight_is_not_computed(examples):
    assert list(RewardSum(Rewards(cider=1), examples)([7], [["a ring"]]).parts) == ["cider"]


def test_a_caption_is_credited_with_what_no_other_of_its_set_covers(examples):
    captions = ["a red circle", "a circle on the left", "a red circle"]
    cider = CiderDReward([[c for c in of_image if c] for of_image in REFERENCES.values()])
    against = np.stack(cider.score_pairs([REFERENCES[7]] * 3, captions))
    np.testing.assert_allclose(against.mean(1), cider.score([REFERENCES[7]] * 3, captions))
    rewarded = RewardSum(Rewards(coverage=2), examples)([7], [captions])
    assert rewarded.parts["coverage"] == pytest.approx(against.max(0).mean())
    assert rewarded.own_BS.tolist() == [[0, 0, 0]]

    def coverage(*chosen: int) -> float:
        return against[list(chosen)].max(0).mean()

    whole = coverage(0, 1, 2)
    # The others are credited in the set without the caption: without 0, with 1 and 2, and so on.
    mean_without = [
        (coverage(*pair) - coverage(pair[1]) + coverage(*pair) - coverage(pair[0])) / 2
        for pair in ((1, 2), (0, 2), (0, 1))
    ]
    credits = [whole - coverage(1, 2), whole - coverage(0, 2), whole - coverage(0, 1)]
    assert credits[0] == credits[2] == 0  # either is redundant, since the other is the same
    by_hand = [2 * 3 * (a - b) for a, b in zip(credits, mean_without, strict=True)]
    assert rewarded.of_set_BS[0].tolist() == pytest.approx(by_hand)


def test_the_best_of_a_set_is_the_one_with_most_cider(examples):
    captions = ["a blue bar", "a bar", "a ring", "a blue ring"]
    rewarded = RewardSum(Rewards(best=1), examples)([8], [captions])
    cider = RewardSum(Rewards(cider=1), examples)([8], [captions]).parts["cider"][0]
    assert cider.argmax() == 0
    assert rewarded.parts["best"] == pytest.approx(cider[0])
    fourth, third, second, first = np.sort(cider)
    # The first one is credited with first - second; without it, the next with second - third.
    assert second > third > fourth
    without_first, without_second = (second - third) / 3, (first - third) / 3
    others = (first - second) / 3
    assert sorted(rewarded.of_set_BS[0]) == pytest.approx(
        [4 * -without_second, 4 * -others, 4 * -others, 4 * (first - second - without_first)]
    )


# Two captions, each of which matches one of two references; the first one does so better.
MATCHES = np.array([[1.0, 0.1], [0.0, 0.8]])


def expected(q: float, advantage, samples: int = 3) -> tuple[float, float]:
    """Return the expected reward of a set, and the expected estimate of its gradient.

    The policy says the first caption with probability q = sigmoid(theta); all sets are enumerated.
    """
    reward = estimate = 0.0
    for drawn in product((0, 1), repeat=samples):
        p = np.prod([q if first == 0 else 1 - q for first in drawn])
        score_SR = MATCHES[list(drawn)]
        grad_S = np.array([1 - q if first == 0 else -q for first in drawn])  # of log p by theta
        reward += p * score_SR.max(0).mean()
        estimate += p * (advantage(score_SR) * grad_S).mean()
    return reward, estimate


def test_the_gradient_of_a_set_is_unbiased():
    for q in (0.1, 0.5, 0.9):
        theta, step = np.log(q / (1 - q)), 1e-5
        ends = [1 / (1 + np.exp(-t)) for t in (theta - step, theta + step)]
        low, high = (expected(end, set_advantages)[0] for end in ends)
        assert expected(q, set_advantages)[1] == pytest.approx((high - low) / (2 * step), rel=1e-6)


def test_the_mean_of_the_others_credits_is_no_baseline():
    """Such a baseline depends on the caption, and the gradient would be another one."""

    def biased(score_SR):
        others = [np.delete(score_SR, at, 0).max(0).mean() for at in range(len(score_SR))]
        credits = score_SR.max(0).mean() - np.array(others)
        total, n = credits.sum(), len(credits)
        return n * (credits - (total - credits) / (n - 1))

    found, right = (expected(0.5, way)[1] for way in (biased, set_advantages))
    assert abs(found - right) > 0.5 * abs(right)


def test_a_rewarded_set_keeps_two_captions_where_a_rewarded_caption_keeps_one():
    def of_caption(score_SR):
        reward_S = score_SR.mean(1)
        return reward_S - (reward_S.sum() - reward_S) / (len(reward_S) - 1)

    signs = {q: np.sign(expected(q, set_advantages)[1]) for q in (0.05, 0.2, 0.8, 0.95)}
    assert signs == {0.05: 1, 0.2: 1, 0.8: -1, 0.95: -1}  # towards a set that has both
    assert all(expected(q, of_caption)[1] > 0 for q in signs)  # towards the first caption alone


class Lengths:
    """A generator whose images encode the length of their caption, and a store of originals."""

    grid = 1

    def __init__(self):
        self.made = []

    def embed(self, captions, image_ids):
        assert len(image_ids) == len(captions) and set(image_ids) <= {7, 8}
        self.made += captions
        return embedding(torch.tensor([[[float(len(c.split())), 1.0]] for c in captions]))

    @staticmethod
    def read(image_ids):
        return torch.tensor([[[2.0, 1.0]] if i == 7 else [[-1.0, 0.5]] for i in image_ids])


def test_reconstruction_is_the_cosine_with_the_original(examples):
    generator = Lengths()
    captions = [["two rings", "a red ring", "two rings"], ["two rings", "a", "bars"]]
    rewards = RewardSum(
        Rewards(reconstruction=2), examples, {"reconstruction": Reconstruction(generator, Lengths)}
    )
    rewarded = rewards([7, 8], captions)
    total, parts = rewarded.own_BS, rewarded.parts
    cosines = torch.nn.functional.cosine_similarity
    originals = [torch.tensor([2.0, 1.0]), torch.tensor([-1.0, 0.5])]
    by_hand = [
        [cosines(torch.tensor([len(c.split()), 1.0]), original, dim=0).item() for c in of_image]
        for original, of_image in zip(originals, captions, strict=True)
    ]
    np.testing.assert_allclose(parts["reconstruction"], by_hand, atol=1e-6)
    np.testing.assert_allclose(total, 2 * np.array(by_hand), atol=1e-6)
    assert len(generator.made) == 5  # equal captions of an image are generated once


def test_clipscore_is_never_below_zero_and_each_pair_has_its_own(examples):
    photo_of = {7: torch.tensor([1.0, 0.0]), 8: torch.tensor([0.6, 0.8])}
    text_of = {
        "a": torch.tensor([0.8, 0.6]),
        "b": torch.tensor([-1.0, 0.0]),
        "c": torch.tensor([0.0, 1.0]),
    }

    class Store:
        def read_pooled(self, image_ids):
            return torch.stack([photo_of[i] for i in image_ids])

    judge = ClipAlignment(lambda captions: torch.stack([text_of[c] for c in captions]), Store())
    rewards = RewardSum(Rewards(clipscore=1), examples, {"clipscore": judge})
    parts = rewards([8, 7], [["a", "b", "c"], ["c", "a", "b"]]).parts
    np.testing.assert_allclose(parts["clipscore"], [[0.96, 0, 0.8], [0, 0.8, 0]], atol=1e-6)
    with pytest.raises(ValueError):  # captions without an image are not ignored
        judge.score([8], [["a"], ["b"]])


def test_clipscore_is_the_cosine_of_caption_and_photo(tiny_layout, examples):
    store, encoder = FeatureStore(tiny_layout.features), load_configured_encoder(tiny_layout)
    images = load_examples(tiny_layout.data, "train")[:2]
    ids, captions = (
        [e.image_id for e in images],
        [["a red ring", "a blue bar"], ["a red ring", "a red ring"]],
    )
    judge = ClipAlignment(load_text_encoder(tiny_layout), store)
    rewards = RewardSum(Rewards(clipscore=1), examples, {"clipscore": judge})
    parts = rewards(ids, captions).parts
    pixels = pixels_of(
        [e.image for e in images], photo_sources(tiny_layout, [e.image for e in images])
    )
    tokenizer = open_clip.SimpleTokenizer(context_length=40)
    with torch.inference_mode():
        photo_BE = encoder.clip.encode_image(normalised(pixels), normalize=True)
        text_BSE = torch.stack(
            [encoder.clip.encode_text(tokenizer(texts), normalize=True) for texts in captions]
        )
    by_hand = (text_BSE @ photo_BE[..., None])[..., 0].clamp_min(0)
    # Features are stored as float16.
    np.testing.assert_allclose(parts["clipscore"], by_hand, atol=2e-3)


def test_an_encoder_that_reads_no_text_gives_no_clipscore(tiny_layout, tmp_path):
    write_tensors(
        tmp_path / "weights.safetensors", timm.create_model("test_efficientnet").state_dict()
    )
    named = {"name": "timm:test_efficientnet", "pretrained": str(tmp_path / "weights.safetensors")}
    layout = Layout(tiny_layout.config.model_copy(update={"encoder": Encoder(**named)}))
    with pytest.raises(
        UserError, match=r"rewards\.clipscore: encoder timm:test_efficientnet reads no text"
    ):
        load_text_encoder(layout)


@pytest.mark.parametrize(
    ("caption", "count"),
    [
        ("", 0),
        ("a", 0),
        ("a red red red ring", 2),
        ("a ring on a ring on a ring", 3),
        ("a ring and a bar", 0),
        ("a red ring a blue ring", 0),
        ("a a a a", 4),
    ],
)
def test_repeats(caption, count):
    assert repeats(caption) == count
