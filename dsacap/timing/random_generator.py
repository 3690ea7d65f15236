"""Generators with random weights, which are as slow as the trained ones and generate noise."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from dsacap.config.encoder import Encoder
from dsacap.config.experiment import Config
from dsacap.config.sections import Generator
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.timing.random_encoder import random_encoder
from dsacap.timing.random_inputs import random_examples
from dsacap.vision.generators.caption_prior import new_caption_prior

_TEXT: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
_UNET: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
_SHRINKS, _LATENTS, _LAST_TIME = 8, 4, 999


class StableDiffusion2:
    """The networks of Stable Diffusion 2.1 with random weights.

    Text encoder, denoiser and decoder have the published sizes (stable-diffusion-2-1, sd-turbo).
    They are in fp16 on a GPU, as pipelines are loaded there.
    """

    def __init__(self, pixels: int, steps: int, device: torch.device):
        """Build the networks on a device, for images of `pixels` by `pixels` in some `steps`."""
        self.side, self.steps, self.device = pixels // _SHRINKS, steps, device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        with torch.device(device):
            self.text = CLIPTextModel(CLIPTextConfig(**_TEXT))
            self.unet = UNet2DConditionModel(**_UNET)
            self.vae = AutoencoderKL(latent_channels=_LATENTS, **_VAE)
        networks: tuple[nn.Module, ...] = (self.text, self.unet, self.vae)
        for network in networks:
            network.to(self.dtype).eval().requires_grad_(False)

    @torch.inference_mode()
    def __call__(self, captions: int) -> Tensor:
        """Generate images (captions, 3, height, width) from captions of random tokens."""
        tokens = torch.randint(
            self.text.config.vocab_size,
            (captions, self.text.config.max_position_embeddings),
            device=self.device,
        )
        text = self.text(tokens)[0]
        latents = torch.randn(
            captions, _LATENTS, self.side, self.side, device=self.device, dtype=self.dtype
        )
        for _ in range(self.steps):
            latents = self.unet(latents, _LAST_TIME, text).sample
        return self.vae.decode(nn.functional.normalize(latents)).sample


def random_reconstruction(
    config: Config, generator: Generator, captions: int, pixels: int, device: torch.device
) -> tuple[str, Callable[[], object]]:
    """Build the configured generator, or networks like those of a named pipeline.

    Args:
        config: The configuration.
        generator: Its generator section.
        captions: Captions per call.
        pixels: Width and height of the images that a pipeline generates.
        device: Where everything runs.

    Returns:
        A description, and a call that generates images or features from captions. Images are
        encoded too.

    Raises:
        UserError: An encoder cannot be built with random weights.
    """
    sight = generator.encoder or config.encoder
    encoders = [
        random_encoder(sight),
        *(random_encoder(Encoder(**other.model_dump())) for other in getattr(sight, "beside", ())),
    ]
    if generator.train:
        tokens_BNC, pooled_BE = encoders[0](torch.randn(1, 3, *encoders[0].image_size))
        width = (
            pooled_BE.shape[1]
            if generator.compare == "pooled"
            else tokens_BNC.shape[2] * generator.grid**2
        )
        vocabulary = Vocabulary([*SPECIALS, *map(str, range(100))])
        texts = [example.tokens[0] for example in random_examples(captions, vocabulary)]
        prior = new_caption_prior(
            texts,
            width,
            width=generator.train.width,
            layers=generator.train.layers,
            max_words=config.text.max_words,
        ).to(device)
        return "the caption prior of the configuration, random weights", partial(
            prior, texts, torch.randn(captions, width).to(device)
        )
    painter = StableDiffusion2(pixels, generator.steps, device)

    def run() -> None:
        pictures = painter(captions)
        for encoder in encoders:
            encoder.to(device)(nn.functional.interpolate(pictures, encoder.image_size).float())

    description = (
        "the networks of Stable Diffusion 2.1, which are SD-Turbo's, random weights,"
        f" {generator.steps} step(s), {pixels} px"
    )
    return description, run
