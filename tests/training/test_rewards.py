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
from dsacap.training.rewards import RewardSum, repeats
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
    total, parts = RewardSum(Rewards(cider=2.0, repeats=0.5, excess=0.1), examples)(
        [8, 9], captions
    )
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
    _, plain = reward([8, 9], captions)
    _, parts = reward([8, 9], captions, [True, False])
    references = [[c for c in of_image if c] for of_image in REFERENCES.values()]
    alone = CiderDReward(references).score([["a blue bar"]], ["a blue bar and a ring"])
    assert parts["cider"][0].tolist() == [plain["cider"][0, 0], alone[0]]
    assert alone[0] < plain["cider"][0, 1]
    assert parts["cider"][1].tolist() == plain["cider"][1].tolist()
    assert reward([9], [["x", "two rings"]], [True])[1]["cider"][0, 1] == 0  # it has no other


def test_a_reward_without_weight_is_not_computed(examples):
    assert list(RewardSum(Rewards(cider=1), examples)([7], [["a ring"]])[1]) == ["cider"]


def test_a_caption_covers_what_no_other_of_its_set_does(examples):
    captions = ["a red circle", "a circle on the left", "a red circle"]
    cider = CiderDReward([[c for c in of_image if c] for of_image in REFERENCES.values()])
    against = np.stack(cider.score_pairs([REFERENCES[7]] * 3, captions))
    np.testing.assert_allclose(against.mean(1), cider.score([REFERENCES[7]] * 3, captions))
    covered = RewardSum(Rewards(coverage=1), examples)([7], [captions])[0][0]
    assert covered[0] == covered[2] == 0  # either is redundant, since the other is the same
    assert covered[1] == pytest.approx((against[1, 1] - against[0, 1]) / 2)
    whole, without = against.max(0).mean(), against[[0, 2]].max(0).mean()
    assert covered[1] == pytest.approx(whole - without)


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
    total, parts = rewards([7, 8], captions)
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
    _, parts = RewardSum(Rewards(clipscore=1), examples, {"clipscore": judge})(
        [8, 7], [["a", "b", "c"], ["c", "a", "b"]]
    )
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
    _, parts = RewardSum(Rewards(clipscore=1), examples, {"clipscore": judge})(ids, captions)
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
