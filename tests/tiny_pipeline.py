"""A diffusers pipeline small enough to be made in a test."""

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CAPTIONS = ["a red ring", "a blue bar on the left", "two rings"]
CPU = torch.device("cpu")


def tiny_stable_diffusion(folder) -> None:
    """Save random weights in the format of SD-Turbo."""
    torch.manual_seed(0)
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {
        token: i
        for i, token in enumerate(
            [*letters, *(f"{x}</w>" for x in letters), "<|startoftext|>", "<|endoftext|>"]
        )
    }
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=20)
    text = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=52,
        eos_token_id=53,
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    StableDiffusionPipeline(
        vae,
        CLIPTextModel(text),
        tokenizer,
        unet,
        EulerDiscreteScheduler(steps_offset=1),
        None,
        None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
