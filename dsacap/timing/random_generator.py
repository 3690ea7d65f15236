"""The networks of Stable Diffusion 2.1 with random weights, where the real ones are out of reach: as slow as they, and they paint noise."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

_TEXT = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
_UNET = {
    "sample_size": 64,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}
_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
_SHRINKS, _LATENTS, _LAST_TIME = 8, 4, 999


class StableDiffusion2:
    """Text encoder, denoiser and decoder, of the published sizes (stable-diffusion-2-1, sd-turbo); fp16 on a GPU, as it is loaded."""

    def __init__(self, pixels: int, steps: int, device: torch.device):
        self.side, self.steps, self.device = pixels // _SHRINKS, steps, device
        self.dtype = torch.float16 if device.type == "cuda" else torch.float32
        with torch.device(device):
            parts = (
                CLIPTextModel(CLIPTextConfig(**_TEXT)),
                UNet2DConditionModel(**_UNET),
                AutoencoderKL(latent_channels=_LATENTS, **_VAE),
            )
        self.text, self.unet, self.vae = (
            part.to(self.dtype).eval().requires_grad_(False) for part in parts
        )

    @torch.inference_mode()
    def __call__(self, captions: int) -> Tensor:
        """Pictures [n, 3, H, W] of random tokens."""
        tokens = torch.randint(
            self.text.config.vocab_size,
            (captions, self.text.config.max_position_embeddings),
            device=self.device,
        )
        said = self.text(tokens)[0]
        latents = torch.randn(
            captions, _LATENTS, self.side, self.side, device=self.device, dtype=self.dtype
        )
        for _ in range(self.steps):
            latents = self.unet(latents, _LAST_TIME, said).sample
        return self.vae.decode(nn.functional.normalize(latents)).sample
