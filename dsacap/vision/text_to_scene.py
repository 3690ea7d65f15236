"""A small text-to-image diffusion model of scenes, in diffusers' own format, so that it is loaded and called as one of COCO's size is.

A diffusion transformer over patches of pixels (PixArt's, Chen et al. 2024, arXiv 2310.00426, made small) reads the caption through
cross-attention to a small BERT, trained with it. It predicts the clean picture, and is sampled by a few steps of DDIM.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiffusionPipeline, PixArtTransformer2DModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dsacap.progress import progress

_PATCH = 16
_WORDS = 40  # as many as a caption may have


class TextToScene(DiffusionPipeline):
    """Called as diffusers' text-to-image pipelines are."""

    def __init__(self, tokenizer, text_encoder: BertModel, transformer: PixArtTransformer2DModel, scheduler: DDIMScheduler):
        super().__init__()
        self.register_modules(tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, scheduler=scheduler)

    @torch.inference_mode()
    def __call__(
        self,
        prompt: Sequence[str],
        num_inference_steps: int = 4,
        guidance_scale: float = 0.0,
        generator: Sequence[torch.Generator] | None = None,
        output_type: str = "pt",
    ) -> ImagePipelineOutput:
        """Pictures [B, 3, H, W] in 0..1, the noise of each drawn from a generator of its own."""
        if guidance_scale or output_type != "pt":
            raise ValueError("only guidance_scale 0 and output_type 'pt'")
        shape = (self.transformer.config.in_channels, *2 * (self.transformer.config.sample_size,))
        x_B3HW = torch.stack([torch.randn(shape, generator=each) for each in generator]).to(self.transformer.device)
        text = self.read(prompt)
        self.scheduler.set_timesteps(num_inference_steps)
        for t in self.scheduler.timesteps:
            x0_B3HW = self.predict(x_B3HW, t.expand(len(x_B3HW)), *text)
            x_B3HW = self.scheduler.step(x0_B3HW, t, x_B3HW).prev_sample
        return ImagePipelineOutput(images=(x_B3HW / 2 + 0.5).clamp(0, 1))

    def read(self, prompt: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What the caption's encoder says of each word [B, L, D], and which of them are words [B, L]."""
        tokens = self.tokenizer(list(prompt), padding=True, truncation=True, max_length=_WORDS, return_tensors="pt").to(
            self.transformer.device
        )
        return self.text_encoder(**tokens).last_hidden_state, tokens["attention_mask"]

    def predict(self, x_B3HW: Tensor, t_B: Tensor, text_BLD: Tensor, words_BL: Tensor) -> Tensor:
        """The clean picture, in -1..1."""
        none = {"resolution": None, "aspect_ratio": None}
        return self.transformer(
            x_B3HW, encoder_hidden_states=text_BLD, timestep=t_B, encoder_attention_mask=words_BL, added_cond_kwargs=none
        ).sample


def new_text_to_scene(vocabulary: Sequence[str], side: int, width: int, layers: int, text_layers: int) -> TextToScene:
    """Untrained; torch's global generator draws the weights."""
    numbers = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *vocabulary])}
    words = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_input_names=["input_ids", "attention_mask"]
    )
    heads = width // 32
    text_encoder = BertModel(
        BertConfig(
            vocab_size=len(numbers),
            hidden_size=width,
            num_hidden_layers=text_layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=_WORDS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    transformer = PixArtTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=32,
        in_channels=3,
        out_channels=3,
        num_layers=layers,
        cross_attention_dim=width,
        caption_channels=width,
        sample_size=side,
        patch_size=_PATCH,
        use_additional_conditions=False,
    )
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        clip_sample=True,
        rescale_betas_zero_snr=True,
    )
    return TextToScene(tokenizer, text_encoder, transformer, scheduler)


def train_text_to_scene(
    pixels: Tensor,
    captions: Sequence[Sequence[str]],
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    width: int = 192,
    layers: int = 4,
    text_layers: int = 2,
    on=None,
) -> TextToScene:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    vocabulary = sorted({word for said in captions for caption in said for word in caption.split()})
    pipeline = new_text_to_scene(vocabulary, pixels.shape[1], width, layers, text_layers)
    pipeline.set_progress_bar_config(disable=True)
    parameters = [*pipeline.transformer.parameters(), *pipeline.text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    times = pipeline.scheduler.config.num_train_timesteps
    for step in progress(range(steps), "train the generator", "step"):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
        chosen = torch.randint(len(pixels), (batch_size,), generator=generator)
        x0 = pixels[chosen].permute(0, 3, 1, 2).float() / 127.5 - 1
        t = torch.randint(times, (batch_size,), generator=generator)
        t[: batch_size // 4] = times - 1  # sampling starts there
        said = [captions[i] for i in chosen.tolist()]
        which = torch.randint(1 << 20, (batch_size,), generator=generator).tolist()
        prompt = [options[k % len(options)] for options, k in zip(said, which, strict=True)]
        noise = torch.randn(x0.shape, generator=generator)
        x = pipeline.scheduler.add_noise(x0, noise, t)
        loss = F.mse_loss(pipeline.predict(x, t, *pipeline.read(prompt)), x0)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if on:
            on(step, loss.item(), pipeline)
    pipeline.save_pretrained(folder)
    return pipeline
