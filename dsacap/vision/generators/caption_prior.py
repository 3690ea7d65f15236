"""A diffusion prior from captions to what an encoder sees: the first half of unCLIP (Ramesh et al. 2022, arXiv 2204.06125, section 2.2).

Our reading, where pixels are out of reach: DSACap's reward compares the *features* of a generated picture with those of the original, and
a prior generates features at once. It is a diffusers pipeline of a PriorTransformer, a small text tower of transformers that is trained
with it, and UnCLIPScheduler; `save_pretrained` and `from_pretrained` keep it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from diffusers import DiffusionPipeline, PriorTransformer, UnCLIPScheduler
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast

from dsacap.captioner.batch_parts import length_buckets

_SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
_HEAD = 32  # channels an attention head


class CaptionPrior(DiffusionPipeline):
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
        return self.scheduler.config.num_train_timesteps - 1

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[str], noise_BE: Tensor) -> Tensor:
        """Embeddings [B, E], denoised from `noise_BE` in one step, which gives the mean of what a caption may look like.

        More steps draw one of the pictures that a caption allows, and a picture is judged by what it happens to add: 4 and 8 steps tell
        right captions from wrong ones less well.
        """
        ids_BL, mask_BL = self.tokenize(prompts)
        return self.denoise(
            noise_BE,
            torch.full((len(noise_BE),), self.last_time, device=noise_BE.device),
            ids_BL,
            mask_BL,
        )

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Word ids [B, L] and which of them are words [B, L], all of the longest length that the prior knows."""
        length = self.text_encoder.config.max_position_embeddings
        out = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        return out.input_ids.to(self.device), out.attention_mask.bool().to(self.device)

    def denoise(self, x_BE: Tensor, time_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The clean embeddings [B, E] that the network believes in, given noised ones."""
        x0_BE = torch.empty_like(x_BE)
        for rows, length in length_buckets(mask_BL):
            x0_BE[rows] = self._denoise_cut(
                x_BE[rows], time_B[rows], ids_BL[rows, :length], mask_BL[rows, :length]
            )
        return x0_BE

    def _denoise_cut(self, x_BE: Tensor, time_B: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """A PriorTransformer knows one length only. It is lent the positions that are there, or half its work would go into padding."""
        text = self.text_encoder(input_ids=ids_BL)
        position, causal = self.prior.positional_embedding, self.prior.causal_attention_mask
        longest = self.text_encoder.config.max_position_embeddings
        kept = torch.cat(
            [torch.arange(ids_BL.shape[1]), torch.arange(longest, position.shape[1])]
        ).to(position.device)
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
    """An untrained prior for the words of tokenised `captions`; torch's global generator gives its weights."""
    counts, longest = Counter(), 0
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
    """One token a word; captions are PTB tokens already."""
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
