"""The text-diffusion baseline: absorbing (masked) diffusion of the caption, after DDCap.

Zhu et al. 2022, arXiv 2211.11694. Forward process: each word is replaced by [MASK] with probability
t ~ U(0, 1) (D3PM's absorbing state, Austin et al. 2021). The network predicts the words at masked
positions by cross-entropy, and a head predicts the caption's length from the image. Decoding is
best-first: with K steps, each step fixes the most confident of the masked positions, about 1/K of
the words, and these do not change again.

Three parts of DDCap are options, so that the effect of each can be measured:

- `concentrated`: the attention mask with which a masked position is attended to by itself alone.
- `image_free`: training replaces a share of the images by a learned blank, for guidance in
  decoding: logits = blank + guidance (image - blank).
- `end: word`: EOS is a word like others. The length counts it, it is masked and predicted, and the
  caption is cut at it, so a length that is too large does no harm. Without it (`end: length`) the
  length alone decides where a caption ends, and EOS is no word.

`lengths: 3` in decoding is the length beam of mask-predict (Ghazvininejad et al. 2019, arXiv
1904.09324), which DDCap has not: each of the likeliest lengths is decoded, and the caption whose
words have the highest mean log-probability is kept.

Deviations from DDCap:

- The network is not given the time, which the share of masked words shows.
- t is continuous; DDCap has 20 steps.
- Only masked words count in the loss. DDCap predicts the others too, which it can copy.
- A word only ever becomes [MASK]; DDCap's paper lets it become another word with a tiny
  probability, its code does not.
- The length is predicted by one layer from the mean of the image tokens, since not every image
  encoder has a class token; DDCap uses a small MLP on CLIP's.
- The number of words fixed in a step depends on the caption's own length instead of the longest of
  the batch, so that captions do not depend on their neighbours.
- The end cannot be the first word. DDCap's can, and an empty caption scores 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.baselines.masked_policy import FullyMasked
from dsacap.baselines.shared import (
    EncoderSize,
    KeysValues,
    ModuleList,
    image_encoder,
    image_keys_values,
    replace_method,
    training_captions,
)
from dsacap.captioner.batch_parts import Dropout, places_of
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    until_eos,
)
from dsacap.captioner.layers import DecoderBlock, repeat_rows, take_rows
from dsacap.captioner.random_numbers import noise_of
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK


class MaskedDiffusion(Captioner):
    """A masked text-diffusion captioner with a predicted length."""

    in_parts = True

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            concentrated: Whether to use DDCap's concentrated attention mask.
            image_free: Share of the images that training leaves blank, for guidance.
            end: What ends a caption: its predicted length, or the word EOS.
        """

        decoder_layers: int = 3
        concentrated: bool = False
        image_free: float = 0.0
        end: Literal["length", "word"] = "length"

        def __post_init__(self):
            if not 0 <= self.image_free < 1 or self.end not in ("length", "word"):
                raise ValueError("needs 0 <= image_free < 1 and end: length or word")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            steps: Number of denoising steps, K.
            temperature: Sampling temperature of the length and the words; 0 takes the likeliest.
            guidance: Weight of the image's logits against the blank's. At 1 a step takes one pass
                of the network, otherwise two.
            lengths: Number of likeliest lengths to decode, of which the best caption is kept.
        """

        steps: int = 8
        temperature: float = 0.0
        guidance: float = 1.0
        lengths: int = 1

        def __post_init__(self):
            if self.steps < 1 or self.temperature < 0 or self.guidance < 0 or self.lengths < 1:
                raise ValueError("needs steps, lengths >= 1 and temperature, guidance >= 0")
            if self.lengths > 1 and self.temperature > 0:
                raise ValueError("lengths > 1 and temperature > 0 exclude each other")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.mask = spec.vocabulary  # an id beyond the vocabulary
        self.ends_by_word = int(model.end == "word")  # also the number of places of the end
        self.places = spec.max_words + self.ends_by_word
        self.image_encoder = image_encoder(model, spec)
        self.dropout = Dropout(model.dropout)
        self.embed = nn.Embedding(spec.vocabulary + 1, model.width)
        self.position = nn.Parameter(torch.randn(self.places, model.width) * 0.02)
        self.blocks = ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        self.length_head = nn.Linear(model.width, spec.max_words + 1)
        nn.init.normal_(self.embed.weight, std=0.02)
        if model.image_free:
            self.blank = nn.Parameter(torch.randn(spec.tokens, model.width) * 0.02)

    @classmethod
    def check(cls, model: Model, decoding: Decoding) -> None:
        """Raise ValueError if decoding needs guidance and training had no blank images."""
        if decoding.guidance != 1 and not model.image_free:
            raise ValueError("guidance needs a model that was trained with image_free")

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropies of the masked words and of the length."""
        captions_BRL, device = training_captions(batch), batch.features.device
        references = captions_BRL.shape[1]
        # In the CPU's memory, like the masks below: a GPU is not asked how many there are.
        all_words_XL = batch.part.known_captions(captions_BRL).flatten(0, 1)
        if not self.ends_by_word:
            all_words_XL = all_words_XL[:, :-1].masked_fill(all_words_XL[:, :-1] == EOS, PAD)
        all_real_XL = all_words_XL != PAD
        words_BL, real_BL = (
            batch.part.rows(x).to(device, non_blocking=True) for x in (all_words_XL, all_real_XL)
        )
        memory_BND = self.image_encoder(batch.features)
        length_loss = F.cross_entropy(
            self.length_logits(memory_BND).repeat_interleave(references, 0),
            real_BL.sum(-1) - self.ends_by_word,
        )

        t_X1 = torch.rand(len(all_words_XL), 1)
        all_masked_XL = (torch.rand(all_words_XL.shape) < t_X1) & all_real_XL
        masked_BL = batch.part.rows(all_masked_XL)
        if self.model.image_free:
            left_out_B = (
                batch.part.drawn(torch.rand, (len(memory_BND),), memory_BND.device)
                < self.model.image_free
            )
            memory_BND = torch.where(left_out_B[:, None, None], self.blank, memory_BND)
        images = self.image_keys_values(memory_BND)
        total: Tensor | float = 0.0
        for known_rows, length in batch.part.length_buckets(all_real_XL):
            rows = known_rows.to(device, non_blocking=True)
            words, masked = words_BL[rows, :length], masked_BL[known_rows, :length]
            places = places_of(masked, device)
            hidden = self.hidden(
                words.masked_fill(masked.to(device, non_blocking=True), self.mask),
                real_BL[rows, :length],
                [take_rows(image, rows // references) for image in images],
            )
            total = total + F.cross_entropy(
                self.head(hidden.flatten(0, 1)[places]), words.flatten()[places], reduction="sum"
            )
        word_loss = total / (all_masked_XL.sum().clamp(min=1) * batch.part.share)
        return {
            "loss": word_loss + length_loss,
            "words": word_loss.detach(),
            "length": length_loss.detach(),
        }

    def policy(self, batch: Batch) -> Policy:
        """Return the distribution of one fully masked pass (diffu-GRPO; Zhao et al. 2025).

        The length is drawn first, then the words, independently of each other.
        """
        if self.ends_by_word:
            raise UserError(
                "masked diffusion with end: word cannot be tuned by a reward, because a caption's"
                " probability is a sum over lengths; take end: length"
            )
        return FullyMasked(self, batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the K denoising steps as one function."""
        replace_method(self, "_unmasked", compiled)
        self.fixed_shapes = True

    def length_logits(self, memory_BND: Tensor) -> Tensor:
        """Return the logits of the number of words [B, max_words + 1], EOS not counted."""
        return self.length_head(memory_BND.mean(1))

    def hidden(self, words_BL: Tensor, real_BL: Tensor, images: list[KeysValues]) -> Tensor:
        """Return the decoder's output [B, L, D]; `real_BL` is False after the end of a caption."""
        x_BLD = self.dropout(self.embed(words_BL) + self.position[: words_BL.shape[1]])
        attended = real_BL[:, None, None]
        if self.model.concentrated:
            itself = torch.eye(words_BL.shape[1], dtype=torch.bool, device=words_BL.device)
            attended = (real_BL & (words_BL != self.mask))[:, None, None] | itself
        for block, image in zip(self.blocks, images, strict=True):
            x_BLD = block(x_BLD, image, mask=attended)
        return self.norm(x_BLD)

    def image_keys_values(self, memory_BND: Tensor) -> list[KeysValues]:
        """Return each block's keys and values of the encoded image tokens."""
        return image_keys_values(self.blocks, memory_BND)

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by best-first unmasking; see `Captioner.caption`."""
        memory_BND = self.image_encoder(batch.features)
        self.check(self.model, decoding)
        images = [repeat_rows(image, samples) for image in self.image_keys_values(memory_BND)]
        blank = (
            self.image_keys_values(self.blank.expand(len(images[0][0]), -1, -1))
            if decoding.guidance != 1
            else None
        )
        length_logits = self.length_logits(memory_BND).repeat_interleave(samples, 0)
        length_logits[:, 0] = -torch.inf  # captions are never empty
        gumbel_BLV = None
        if decoding.random:
            uniform = noise_of(
                batch,
                samples,
                seed,
                (1 + self.places, max(self.spec.vocabulary, self.spec.max_words + 1)),
                "uniform",
            )
            gumbel = (
                -torch.log(-torch.log(uniform.flatten(0, 1).clamp(1e-9, 1 - 1e-7)))
                * decoding.temperature
            )
            length_logits = length_logits + gumbel[:, 0, : self.spec.max_words + 1]
            gumbel_BLV = gumbel[:, 1:, : self.spec.vocabulary]
        # Each row has as many candidates as lengths, the likeliest first.
        lengths = min(decoding.lengths, self.spec.max_words)
        length_X = length_logits.topk(lengths).indices.flatten()
        if self.endless:
            length_X.fill_(self.spec.max_words)
        images = [repeat_rows(image, lengths) for image in images]
        if blank is not None:
            blank = [repeat_rows(image, lengths) for image in blank]
        length_X = length_X + self.ends_by_word
        places = self.places if self.fixed_shapes else int(length_X.max())
        real_XL = torch.arange(places, device=length_X.device) < length_X[:, None]
        words_XL = torch.full(real_XL.shape, self.mask, device=length_X.device).masked_fill(
            ~real_XL, PAD
        )
        words_XL, log_p_XL = self._unmasked(words_XL, real_XL, images, blank, gumbel_BLV, decoding)
        best_B1 = _mean_until_end(words_XL, log_p_XL, real_XL).view(-1, lengths).argmax(-1)[:, None]
        words_BL = words_XL.unflatten(0, (-1, lengths)).take_along_dim(best_B1[..., None], 1)[:, 0]
        return by_image([until_eos(words) for words in words_BL.tolist()], samples)

    def _unmasked(
        self,
        words_BL: Tensor,
        real_BL: Tensor,
        images: list[KeysValues],
        blank: list[KeysValues] | None,
        gumbel_BLV: Tensor | None,
        decoding: Decoding,
    ) -> tuple[Tensor, Tensor]:
        """Return the words [B, L] after K steps, and their log-probabilities when they were fixed.

        All steps are in one function, so that compiling gives one graph.

        Args:
            words_BL: The fully masked caption, filled with PAD.
            real_BL: False after the end of a caption.
            images: The keys and values of the image tokens.
            blank: The keys and values of the blank image, for guidance; None without guidance.
            gumbel_BLV: Noise that is added to the logits for sampling; None takes the likeliest
                words.
            decoding: The decoding options.
        """
        log_p_BL = torch.zeros(words_BL.shape, device=words_BL.device)
        for step in range(decoding.steps):
            masked_BL = words_BL == self.mask
            logits_BLV = self.head(self.hidden(words_BL, real_BL, images))
            if blank is not None:
                blank_BLV = self.head(self.hidden(words_BL, real_BL, blank))
                logits_BLV = blank_BLV + decoding.guidance * (logits_BLV - blank_BLV)
            self._forbid(logits_BLV)
            noisy_BLV = (
                logits_BLV
                if gumbel_BLV is None
                else logits_BLV + gumbel_BLV[:, : words_BL.shape[1]]
            )
            new_BL = noisy_BLV.argmax(-1)
            confidence_BL = (
                logits_BLV.log_softmax(-1)
                .gather(-1, new_BL[..., None])[..., 0]
                .masked_fill(~masked_BL, -torch.inf)
            )
            left_B = masked_BL.sum(-1)
            fix_B = torch.ceil(
                left_B / (decoding.steps - step)
            )  # in the last step, all that is left
            rank_BL = confidence_BL.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
            fixed_BL = masked_BL & (rank_BL < fix_B[:, None])
            words_BL = torch.where(fixed_BL, new_BL, words_BL)
            log_p_BL = torch.where(fixed_BL, confidence_BL, log_p_BL)
            if not torch.compiler.is_compiling() and not (words_BL == self.mask).any():
                break
        return words_BL, log_p_BL

    def _forbid(self, logits_BLV: Tensor) -> None:
        """Set the logits of words to -inf where no caption contains them."""
        for word in (PAD, BOS, UNK):
            logits_BLV[..., word] = -torch.inf
        if not self.ends_by_word:
            logits_BLV[..., EOS] = -torch.inf
            return
        earliest = self.spec.max_words if self.endless else 1
        logits_BLV[:, :earliest, EOS] = -torch.inf
        logits_BLV[:, self.spec.max_words :, UNK + 1 :] = -torch.inf


def _mean_until_end(words_XL: Tensor, log_p_XL: Tensor, real_XL: Tensor) -> Tensor:
    """Return the mean log-probability [X] of the words of each caption, its EOS included."""
    is_end_XL = words_XL == EOS
    used_XL = real_XL & (is_end_XL.cumsum(-1) - is_end_XL.long() == 0)
    return (log_p_XL * used_XL).sum(-1) / used_XL.sum(-1)
