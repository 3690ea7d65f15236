"""Ensembles of encoders, and images compared by one vector each."""

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.functional import to_pil_image

from dsacap.common.errors import UserError
from dsacap.config.encoder import Sight
from dsacap.config.sections import Generator
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.runs.models import load_reconstruction
from dsacap.stages.features import make_features
from dsacap.stages.generator import make_generator
from dsacap.vision.encoders.clip_encoder import local_name
from dsacap.vision.encoders.ensemble import EnsembleEncoder
from dsacap.vision.encoders.load import load_encoder
from dsacap.vision.features.store import FeatureStore
from dsacap.vision.generators.generator import PixelGenerator, embedding, load_pixel_pipeline
from helpers import noise_photo, save_vit
from tiny_pipeline import CAPTIONS, CPU, tiny_stable_diffusion


@pytest.fixture
def clip(tmp_path):
    save_vit(tmp_path / "clip")
    return load_encoder(local_name(tmp_path / "clip"), None)


def two_eyed(layout: Layout) -> Layout:
    """Compare images by two copies of the layout's encoder, which must find what one finds."""
    name = local_name(layout.encoder)
    sight = Sight(name=name, beside=[{"name": name}], shard_size=20)
    generator = Generator(
        **{
            **layout.config.generator.model_dump(),
            "compare": "pooled",
            "encoder": sight.model_dump(),
        }
    )
    return Layout(layout.config.model_copy(update={"generator": generator}))


def test_a_cosine_is_the_mean_of_the_members_cosines(clip, tmp_path):
    torch.manual_seed(1)
    other = load_encoder(local_name(tmp_path / "clip"), None, grid=2)
    for weight in other.parameters():
        weight.data += 0.1 * torch.randn(weight.shape)
    both = EnsembleEncoder([other, clip])
    photos = [noise_photo((64, 64), 60), Image.new("RGB", (64, 64), "red")]
    tokens, pooled = both(torch.stack([both.preprocess(photo) for photo in photos]))
    outputs = [
        member(torch.stack([member.preprocess(photo) for photo in photos]))
        for member in (other, clip)
    ]
    assert torch.equal(tokens, outputs[0][0]), "tokens are not those of the first, on its grid"
    cosines = [(a * b).sum() for _, (a, b) in outputs]
    assert abs(cosines[0] - cosines[1]) > 1e-3
    torch.testing.assert_close((pooled[0] * pooled[1]).sum(), sum(cosines) / 2)
    assert both.identity() != EnsembleEncoder([clip, clip]).identity()


def test_each_member_normalises_pixels_in_its_own_way(clip):
    darker = load_encoder(local_name(clip.file.parent), None)
    darker.preprocess = lambda photo: clip.preprocess(photo) - 1
    pixels = EnsembleEncoder([clip, darker])._preprocess(Image.new("RGB", (64, 64), "red"))
    torch.testing.assert_close(pixels[1], pixels[0] - 1)


def test_members_of_different_input_sizes_are_refused(clip):
    other = load_encoder(local_name(clip.file.parent), None)
    other.image_size = (32, 32)
    with pytest.raises(
        UserError, match=r"the same input size, but these have \(32, 32\), \(64, 64\)"
    ):
        EnsembleEncoder([clip, other])


def test_several_encoders_have_no_common_tokens():
    with pytest.raises(ValidationError, match="set compare: pooled"):
        Generator(train={"steps": 1}, encoder={"name": "timm:a", "beside": [{"name": "timm:b"}]})


def test_a_prior_is_trained_and_compared_in_the_common_space(tiny_layout):
    layout = two_eyed(tiny_layout)
    one_eyed = Layout(
        layout.config.model_copy(update={"encoder": Sight(name=local_name(tiny_layout.encoder))})
    )
    assert layout.sight.encoder != one_eyed.encoder
    make_features(layout.sight)
    facts = make_generator(layout)
    assert set(facts["auc"]) >= {"wrong", "random"}
    ids = [example.image_id for example in Inputs(layout).examples("test")][:3]
    reconstruction, once = (
        load_reconstruction(layout),
        FeatureStore(tiny_layout.features).read_pooled(ids),
    )
    twice = reconstruction.store.read_pooled(ids)
    # Features are stored as float16.
    torch.testing.assert_close(twice @ twice.T, once @ once.T, atol=2e-3, rtol=0)
    made = reconstruction.generator.embed(["a red ring"] * 3, ids)
    expected = (made * embedding(twice[:, None])).sum(-1).numpy()
    assert reconstruction.score(ids, [["a red ring"]] * 3)[:, 0] == pytest.approx(expected)


def test_images_of_a_pipeline_are_compared_by_their_vectors(tmp_path):
    tiny_stable_diffusion(tmp_path / "pipeline")
    save_vit(tmp_path / "clip")
    encoder = EnsembleEncoder([load_encoder(local_name(tmp_path / "clip"), None)] * 2)
    pipeline = load_pixel_pipeline(str(tmp_path / "pipeline"), None, CPU)
    generator = PixelGenerator(pipeline, encoder, None, grid=None, steps=1, size=16, batch_size=2)
    pictures = generator.paint(CAPTIONS, [1, 1, 2])
    photos = [to_pil_image(picture) for picture in pictures]
    by_hand = encoder(torch.stack([encoder.preprocess(photo) for photo in photos]))[1]
    embedded = generator.embed(CAPTIONS, [1, 1, 2])
    # The tolerance is for batches of two and one, in which a grey value may round differently.
    torch.testing.assert_close(embedded @ embedded.T, by_hand @ by_hand.T, atol=0.02, rtol=0)
