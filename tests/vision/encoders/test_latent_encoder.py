import torch

from dsacap.config.encoder import AutoencoderSizes
from dsacap.vision.encoders.latent_encoder import new_latent_encoder
from helpers import noise_photo

PHOTO = noise_photo((90, 70), 80)


def test_tokens_are_patches_of_the_posteriors_mean():
    torch.manual_seed(0)
    encoder = new_latent_encoder(AutoencoderSizes(width=8))
    pixels_13HW = encoder.preprocess(PHOTO)[None]
    tokens, pooled = encoder(pixels_13HW)
    assert tokens.shape == (1, 16, 16) and encoder.shape() == (16, 16, 16)
    mean_CHW = encoder.net(pixels_13HW)[0, :4]
    assert mean_CHW.shape == (4, 8, 8)
    torch.testing.assert_close(tokens[0, 1], mean_CHW[:, :2, 2:4].flatten())
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(1))


def test_a_larger_photo_has_as_many_tokens_of_more_channels():
    sizes = AutoencoderSizes(size=96, width=8, channels=3)
    assert new_latent_encoder(sizes).shape() == (16, 27, 27)
    assert new_latent_encoder(sizes, grid=2).shape() == (4, 27, 27)
