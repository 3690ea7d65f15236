"""A generator that compares images by the tokens of an encoder of its own."""

import torch

from dsacap.config.encoder import Encoder
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_reconstruction
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.vision.features.store import FeatureStore


def with_own_encoder(layout: Layout, grid: int | None = None) -> Layout:
    encoder = Encoder(name=f"local-dir:{layout.encoder}", grid=grid, shard_size=20)
    generator = layout.config.generator.model_copy(update={"encoder": encoder})
    return Layout(layout.config.model_copy(update={"generator": generator}))


def test_only_the_generator_and_systems_it_rewards_get_new_folders(tiny_layout):
    other = with_own_encoder(tiny_layout)
    assert other.sight.features != other.features == tiny_layout.features
    assert tiny_layout.sight is tiny_layout
    assert other.generator != tiny_layout.generator
    assert other.system("dsacap", 0) == tiny_layout.system("dsacap", 0)
    assert other.system("dsacap-rl", 0) != tiny_layout.system("dsacap-rl", 0)


def test_originals_are_encoded_by_the_generators_encoder(tiny_layout):
    """With four tokens averaged to one, that one is compared, and captioners keep their four."""
    layout = with_own_encoder(tiny_layout, grid=1)
    make_features(layout.sight)
    facts = make_generator(layout)
    assert set(facts["auc"]) >= {"wrong", "random"}
    reconstruction = load_reconstruction(layout)
    ids = [example.image_id for example in Inputs(layout).examples("test")][:3]
    store = FeatureStore(tiny_layout.features)
    own = reconstruction.store
    assert (own.tokens, Inputs(layout).store.tokens) == (1, 4)
    raw, raw_own = (of.read(ids) * of.std + of.mean for of in (store, own))
    # Features are stored as float16.
    torch.testing.assert_close(raw_own, raw.mean(1, keepdim=True), atol=5e-3, rtol=5e-3)
    assert reconstruction.score(ids, [["a red ring"]] * 3).shape == (3, 1)
