import pytest
import torch
import torch.nn.functional as F

from dsacap.common.errors import UserError
from dsacap.vision.generators.caption_prior import new_caption_prior
from dsacap.vision.generators.generator import (
    FeatureGenerator,
    PixelGenerator,
    auc,
    coarse,
    embedding,
    load_caption_prior,
    load_pixel_pipeline,
)
from tiny_pipeline import CAPTIONS, CPU, tiny_stable_diffusion


@pytest.fixture
def prior():
    torch.manual_seed(0)
    return new_caption_prior(CAPTIONS, 4 * 6, width=32, layers=1, max_words=20)


def test_coarse_tokens_are_means_of_cells():
    map_BCHW = torch.arange(2 * 3 * 16.0).view(2, 3, 4, 4)
    tokens = map_BCHW.flatten(2).mT
    assert torch.equal(coarse(tokens, 2)[0, 1], map_BCHW[0, :, :2, 2:].mean((1, 2)))
    with_class_token = torch.cat([torch.full((2, 1, 3), 1e6), tokens], dim=1)
    assert torch.equal(coarse(with_class_token, 2), coarse(tokens, 2))
    assert torch.equal(coarse(tokens, 4), tokens)


def test_similarity_is_the_mean_of_two_cosines():
    a, b = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0)).unbind()
    cosines = F.cosine_similarity(a.flatten(1), b.flatten(1)) + F.cosine_similarity(
        a.mean(1), b.mean(1)
    )
    torch.testing.assert_close((embedding(a) * embedding(b)).sum(-1), cosines / 2)
    torch.testing.assert_close(embedding(a).norm(dim=-1), torch.ones(5))


def test_auc_counts_ties_half():
    assert auc(torch.tensor([1.0, 2, 3, 0]), torch.tensor([0.0, 2, 4, 1])) == (1 + 0.5) / 4


def test_all_captions_of_an_image_come_from_one_noise(prior):
    generator = FeatureGenerator(prior, grid=2)
    made = generator.reconstruct([CAPTIONS[0]] * 3 + [CAPTIONS[1]], [7, 7, 8, 7])
    assert made.shape == (4, 4, 6)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[3])
    alone = generator.reconstruct([CAPTIONS[1]], [7])
    torch.testing.assert_close(made[3:], alone)


def test_a_prior_is_kept_in_diffusers_format(prior, tmp_path):
    prior.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "model_index.json",
        "prior",
        "scheduler",
        "text_encoder",
        "tokenizer",
    }
    again = FeatureGenerator(load_caption_prior(tmp_path, CPU), grid=2)
    torch.testing.assert_close(
        again.embed(CAPTIONS, [1, 2, 3]), FeatureGenerator(prior, grid=2).embed(CAPTIONS, [1, 2, 3])
    )


def test_a_missing_prior_is_reported(tmp_path):
    with pytest.raises(UserError, match="run `dsacap generator`"):
        load_caption_prior(tmp_path / "pipeline", CPU)


def test_leaving_out_padding_changes_nothing(prior):
    (ids, mask), x, time = (
        prior.tokenize(CAPTIONS * 2),
        torch.randn(6, 24),
        torch.tensor([999, 3, 500, 0, 1, 2]),
    )
    text = prior.text_encoder(input_ids=ids, attention_mask=mask)
    how = {
        "proj_embedding": text.text_embeds,
        "encoder_hidden_states": text.last_hidden_state,
        "attention_mask": mask,
    }
    torch.testing.assert_close(
        prior.denoise(x, time, ids, mask), prior.prior(x, time, **how).predicted_image_embedding
    )


def test_captions_are_words_between_start_and_end(prior):
    ids, mask = prior.tokenize(
        ["a red zebra", "", "a blue bar on the left on the left on the left"]
    )
    assert ids.shape == (3, 8)  # the longest caption, <bos> and <eos>
    words = [
        prior.tokenizer.convert_ids_to_tokens(row[real])
        for row, real in zip(ids, mask, strict=True)
    ]
    assert words[0] == ["<bos>", "a", "red", "<unk>", "<eos>"]
    assert words[1] == ["<bos>", "<eos>"]
    assert len(words[2]) == 8


class Colours(torch.nn.Module):
    """An encoder whose tokens are the colours of 4 x 4 patches."""

    @staticmethod
    def from_pictures(pictures):
        return pictures

    def forward(self, pixels):
        return F.adaptive_avg_pool2d(pixels, 4).flatten(2).mT, None


class Store:
    @staticmethod
    def standardised(tokens):
        return (tokens - 0.5) / 0.25


def test_images_of_a_pipeline_are_encoded(tmp_path):
    tiny_stable_diffusion(tmp_path)
    pipeline = load_pixel_pipeline(str(tmp_path), None, CPU)
    generator = PixelGenerator(pipeline, Colours(), Store(), grid=2, steps=1, size=16, batch_size=2)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    pictures = generator.paint(CAPTIONS, [1, 1, 2])
    assert pictures.shape == (3, 3, 16, 16) and pictures.min() >= 0 and pictures.max() <= 1
    reconstructed = generator.reconstruct(CAPTIONS, [1, 1, 2])
    by_hand = Store.standardised(Colours()(pictures)[0])
    # The tolerance is for batches of two and one, in which a grey value may round differently.
    torch.testing.assert_close(reconstructed, coarse(by_hand, 2), atol=0.03, rtol=0)
    assert not torch.equal(reconstructed[0], reconstructed[1])


def test_batches_become_as_small_as_the_memory_of_the_gpu(tmp_path, monkeypatch):
    tiny_stable_diffusion(tmp_path)
    pipeline = load_pixel_pipeline(str(tmp_path), None, CPU)
    generator = PixelGenerator(pipeline, Colours(), Store(), grid=2, steps=1, size=16, batch_size=8)
    captions, ids = CAPTIONS * 3, list(range(9))
    expected, paint, sizes = generator.reconstruct(captions, ids), generator.paint, []

    def in_little_memory(captions, image_ids):
        if len(captions) > 2:
            raise torch.OutOfMemoryError
        sizes.append(len(captions))
        return paint(captions, image_ids)

    monkeypatch.setattr(generator, "paint", in_little_memory)
    # The tolerance is for another size of batches, in which a grey value may round differently.
    found = generator.reconstruct(captions, ids)
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)
    assert sizes == [2, 2, 2, 2, 1] and generator.batch_size == 2

    def in_no_memory(captions, image_ids):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(generator, "paint", in_no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        generator.reconstruct(captions, ids)


def test_an_unavailable_pipeline_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"generator .*diffusers' format"):
        load_pixel_pipeline(str(tmp_path / "none"), None, CPU)
