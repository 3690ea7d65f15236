"""A diffusion prior from captions to image features, the first half of unCLIP.

The source is Ramesh et al. 2022 (arXiv 2204.06125), section 2.2. Our reading, where no
text-to-image model is available: DSACap's reward compares the *features* of a generated image with
those of the original, and a prior generates features directly.

The prior is a diffusers pipeline of a PriorTransformer, a small text tower of transformers that is
trained with it, and UnCLIPScheduler; `save_pretrained` and `from_pretrained` store and load it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast

from dsacap.captioner.batch_parts import WHOLE

_SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
_HEAD = 32  # channels per attention head


class CaptionPrior(DiffusionPipeline):
    """Pipeline that denoises the features of an image given its caption.

    Attributes:
        tokenizer: Turns captions into word ids.
        text_encoder: The text tower.
        prior: The denoiser of features.
        scheduler: The noise schedule of training.
    """

    tokenizer: PreTrainedTokenizerFast
    text_encoder: CLIPTextModelWithProjection
    prior: PriorTransformer
    scheduler: Any  # diffusers annotates timesteps as IntTensor, which no function of torch returns

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        text_encoder: CLIPTextModelWithProjection,
        prior: PriorTransformer,
        scheduler: UnCLIPScheduler,
    ):
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, prior=prior, scheduler=scheduler
        )

    @property
    def last_time(self) -> int:
        """The timestep at which nothing but noise is left."""
        return self.scheduler.config["num_train_timesteps"] - 1

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], noise_BE: Tensor) -> Tensor:
        """Generate embeddings from captions by denoising in one step.

        One step gives the mean of all images that a caption may describe. More steps draw one of
        these images, and then details that the caption does not mention decide the comparison: with
        4 and 8 steps, right and wrong captions are distinguished less well.

        Args:
            prompts: Tokenised captions.
            noise_BE: Noise (batch, width), one vector per caption.

        Returns:
            Embeddings (batch, width).
        """
        ids_BL, mask_BL = self.tokenize(prompts)
        return self.denoise(
            noise_BE,
            torch.full((len(noise_BE),), self.last_time, device=noise_BE.device),
            ids_BL,
            mask_BL,
        )

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Turn captions into word ids, padded to the longest length that the prior supports.

        Args:
            prompts: Tokenised captions.

        Returns:
            Word ids (batch, length) and a mask (batch, length) that is True where there are words,
            both in the CPU's memory.
        """
        length = self.text_encoder.config.max_position_embeddings
        out = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        return out.input_ids, out.attention_mask.bool()

    def denoise(self, x_BE: Tensor, time_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Predict clean embeddings from noised ones.

        Args:
            x_BE: Noised embeddings (batch, width).
            time_B: Their timesteps (batch).
            ids_BL: Word ids (batch, length) of the captions, from `tokenize`.
            mask_BL: Which ids are words (batch, length), from `tokenize`.

        Returns:
            The predicted clean embeddings (batch, width).
        """
        x0_BE = torch.empty_like(x_BE)
        for rows, length in WHOLE.length_buckets(mask_BL):
            ids, mask, here = (
                x.to(x_BE.device, non_blocking=True)
                for x in (ids_BL[rows, :length], mask_BL[rows, :length], rows)
            )
            x0_BE[here] = self._denoise_cut(x_BE[here], time_B[here], ids, mask)
        return x0_BE

    def _denoise_cut(self, x_BE: Tensor, time_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Denoise a batch of short captions.

        A PriorTransformer supports only its full length, and half its work would be padding. It
        gets the positions and the attention mask of the shorter length for this call.
        """
        text = self.text_encoder(input_ids=ids_BL)
        position, causal = self.prior.positional_embedding, self.prior.causal_attention_mask
        longest = self.text_encoder.config.max_position_embeddings
        kept = torch.cat(
            [
                torch.arange(ids_BL.shape[1], device=position.device),
                torch.arange(longest, position.shape[1], device=position.device),
            ]
        )
        return functional_call(
            self.prior,
            {
                "positional_embedding": position[:, kept],
                "causal_attention_mask": causal[:, kept[:, None], kept],
            },
            (x_BE, time_B),
            {
                "proj_embedding": text.text_embeds,
                "encoder_hidden_states": text.last_hidden_state,
                "attention_mask": mask_BL,
            },
        ).predicted_image_embedding


def new_caption_prior(
    captions: Iterable[str], embedding_dim: int, *, width: int, layers: int, max_words: int
) -> CaptionPrior:
    """Build an untrained prior, with weights from torch's global generator.

    Args:
        captions: Tokenised captions, whose words are the vocabulary.
        embedding_dim: Width of the embeddings.
        width: Width of the text tower and the denoiser.
        layers: Layers of the denoiser.
        max_words: Longest caption in words; longer ones are truncated.

    Returns:
        The prior, on the CPU.
    """
    counts: Counter[str] = Counter()
    longest = 0
    for caption in captions:
        words = caption.split()
        counts.update(words)
        longest = max(longest, len(words))
    tokenizer = _word_tokenizer(sorted(counts), length := min(longest, max_words) + 2)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=1,
        num_attention_heads=width // _HEAD,
        max_position_embeddings=length,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    prior = PriorTransformer(
        num_attention_heads=width // _HEAD,
        attention_head_dim=_HEAD,
        num_layers=layers,
        embedding_dim=embedding_dim,
        num_embeddings=length,
        embedding_proj_dim=width,
        encoder_hid_proj_type=None,
    )
    scheduler = UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", clip_sample=False
    )
    return CaptionPrior(tokenizer, CLIPTextModelWithProjection(text), prior, scheduler)


def _word_tokenizer(words: Sequence[str], length: int) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per word of captions that are PTB-tokenised already."""
    pad, unknown, start, end = _SPECIAL
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*_SPECIAL, *words])}, unk_token=unknown)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 2), (end, 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token=pad,
        unk_token=unknown,
        bos_token=start,
        eos_token=end,
    )
