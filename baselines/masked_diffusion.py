"""The text-diffusion baseline: absorbing (masked) diffusion of the caption, after DDCap.

Zhu et al. 2022, arXiv 2211.11694. Forward process: each word is replaced by [MASK] with probability
t ~ U(0, 1) (D3PM's absorbing state, Austin et al. 2021). The network predicts the words at masked
positions by cross-entropy, and a head predicts the caption's length from the image. Decoding is
best-first: with K steps, each step fixes the most confident of the masked positions, about 1/K of
the words, and these do not change again.

Two parts of DDCap are options, so that the effect of each can be measured: the concentrated
attention mask, with which a masked position is attended to by itself alone, and image-free
training, which replaces a share of the images by a learned blank, for guidance in decoding:
logits = blank + guidance (image - blank).

Deviations from DDCap:

- The network is not given the time, which the share of masked words shows.
- t is continuous; DDCap has 20 steps.
- A word only ever becomes [MASK]; DDCap lets it become another word with a tiny probability.
- The length is predicted by one layer from the mean of the image tokens; DDCap uses a small MLP on
  CLIP's class token.
- The number of words fixed in a step depends on the caption's own length instead of the longest of
  the batch, so that captions do not depend on their neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.baselines.shared import (
    EncoderSize,
    KeysValues,
    ModuleList,
    image_encoder,
    image_keys_values,
    replace_method,
    training_captions,
)
from dsacap.captioner.batch_parts import Dropout
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    closed,
    noise_of,
)
from dsacap.captioner.layers import DecoderBlock, repeat_rows, take_rows
from dsacap.text.vocabulary import EOS, PAD, UNK


class MaskedDiffusion(Captioner):
    """A masked text-diffusion captioner with a predicted length."""

    in_parts = True

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            concentrated: Whether to use DDCap's concentrated attention mask.
            image_free: Share of the images that training leaves blank, for guidance.
        """

        decoder_layers: int = 3
        concentrated: bool = False
        image_free: float = 0.0

        def __post_init__(self):
            if not 0 <= self.image_free < 1:
                raise ValueError("needs 0 <= image_free < 1")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            steps: Number of denoising steps, K.
            temperature: Sampling temperature of the length and the words; 0 takes the likeliest.
            guidance: Weight of the image's logits against the blank's. At 1 a step takes one pass
                of the network, otherwise two.
        """

        steps: int = 8
        temperature: float = 0.0
        guidance: float = 1.0

        def __post_init__(self):
            if self.steps < 1 or self.temperature < 0 or self.guidance < 0:
                raise ValueError("needs steps >= 1, temperature >= 0 and guidance >= 0")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.mask = spec.vocabulary  # an id beyond the vocabulary
        self.image_encoder = image_encoder(model, spec)
        self.dropout = Dropout(model.dropout)
        self.embed = nn.Embedding(spec.vocabulary + 1, model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words, model.width) * 0.02)
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
        captions_BRL = training_captions(batch)
        references = captions_BRL.shape[1]
        all_words_XL = batch.part.all_captions(captions_BRL).flatten(0, 1)[:, :-1]
        # EOS is not a word here: the length head decides where a caption ends.
        all_words_XL = all_words_XL.masked_fill(all_words_XL == EOS, PAD)
        all_real_XL = all_words_XL != PAD
        words_BL, real_BL = batch.part.rows(all_words_XL), batch.part.rows(all_real_XL)
        memory_BND = self.image_encoder(batch.features)
        length_loss = F.cross_entropy(
            self._length_logits(memory_BND).repeat_interleave(references, 0), real_BL.sum(-1)
        )

        t_X1 = torch.rand(len(all_words_XL), 1, device=words_BL.device)
        all_masked_XL = (
            torch.rand(all_words_XL.shape, device=words_BL.device) < t_X1
        ) & all_real_XL
        masked_BL = batch.part.rows(all_masked_XL)
        if self.model.image_free:
            left_out_B = (
                batch.part.drawn(torch.rand, (len(memory_BND),), memory_BND.device)
                < self.model.image_free
            )
            memory_BND = torch.where(left_out_B[:, None, None], self.blank, memory_BND)
        images = self._image_keys_values(memory_BND)
        total: Tensor | float = 0.0
        for rows, length in batch.part.length_buckets(all_real_XL):
            words, masked, real = (x_BL[rows, :length] for x_BL in (words_BL, masked_BL, real_BL))
            hidden = self._hidden(
                words.masked_fill(masked, self.mask),
                real,
                [take_rows(image, rows // references) for image in images],
            )
            total = total + F.cross_entropy(
                self.head(hidden[masked]), words[masked], reduction="sum"
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
        return _FullyMasked(self, batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the K denoising steps as one function."""
        replace_method(self, "_unmasked", compiled)
        self.fixed_shapes = True

    def _length_logits(self, memory_BND: Tensor) -> Tensor:
        return self.length_head(memory_BND.mean(1))

    def _hidden(self, words_BL: Tensor, real_BL: Tensor, images: list[KeysValues]) -> Tensor:
        """Return the decoder's output [B, L, D]; `real_BL` is False after the end of a caption."""
        x_BLD = self.dropout(self.embed(words_BL) + self.position[: words_BL.shape[1]])
        attended = real_BL[:, None, None]
        if self.model.concentrated:
            itself = torch.eye(words_BL.shape[1], dtype=torch.bool, device=words_BL.device)
            attended = (real_BL & (words_BL != self.mask))[:, None, None] | itself
        for block, image in zip(self.blocks, images, strict=True):
            x_BLD = block(x_BLD, image, mask=attended)
        return self.norm(x_BLD)

    def _image_keys_values(self, memory_BND: Tensor) -> list[KeysValues]:
        return image_keys_values(self.blocks, memory_BND)

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by best-first unmasking; see `Captioner.caption`."""
        memory_BND = self.image_encoder(batch.features)
        self.check(self.model, decoding)
        images = [repeat_rows(image, samples) for image in self._image_keys_values(memory_BND)]
        blank = (
            self._image_keys_values(self.blank.expand(len(images[0][0]), -1, -1))
            if decoding.guidance != 1
            else None
        )
        length_logits = self._length_logits(memory_BND).repeat_interleave(samples, 0)
        length_logits[:, 0] = -torch.inf  # captions are never empty
        gumbel_BLV = None
        if decoding.random:
            uniform = noise_of(
                batch,
                samples,
                seed,
                (1 + self.spec.max_words, max(self.spec.vocabulary, self.spec.max_words + 1)),
                "uniform",
            )
            gumbel = (
                -torch.log(-torch.log(uniform.flatten(0, 1).clamp(1e-9, 1 - 1e-7)))
                * decoding.temperature
            )
            length_logits = length_logits + gumbel[:, 0, : self.spec.max_words + 1]
            gumbel_BLV = gumbel[:, 1:, : self.spec.vocabulary]
        length_B = length_logits.argmax(-1)
        if self.endless:
            length_B.fill_(self.spec.max_words)
        places = self.spec.max_words if self.fixed_shapes else int(length_B.max())
        real_BL = torch.arange(places, device=length_B.device) < length_B[:, None]
        words_BL = torch.full(real_BL.shape, self.mask, device=length_B.device).masked_fill(
            ~real_BL, PAD
        )
        words_BL = self._unmasked(words_BL, real_BL, images, blank, gumbel_BLV, decoding)
        captions = [[word for word in words if word > UNK] for words in words_BL.tolist()]
        return by_image(captions, samples)

    def _unmasked(
        self,
        words_BL: Tensor,
        real_BL: Tensor,
        images: list[KeysValues],
        blank: list[KeysValues] | None,
        gumbel_BLV: Tensor | None,
        decoding: Decoding,
    ) -> Tensor:
        """Return the words [B, L] after K steps.

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
        for step in range(decoding.steps):
            masked_BL = words_BL == self.mask
            logits_BLV = self.head(self._hidden(words_BL, real_BL, images))
            if blank is not None:
                blank_BLV = self.head(self._hidden(words_BL, real_BL, blank))
                logits_BLV = blank_BLV + decoding.guidance * (logits_BLV - blank_BLV)
            logits_BLV[..., : UNK + 1] = -torch.inf
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
            words_BL = torch.where(masked_BL & (rank_BL < fix_B[:, None]), new_BL, words_BL)
            if not torch.compiler.is_compiling() and not (words_BL == self.mask).any():
                break
        return words_BL


class _FullyMasked(Policy):
    def __init__(self, captioner: MaskedDiffusion, batch: Batch):
        self.captioner, self.part = captioner, batch.part
        memory_BND = captioner.image_encoder(batch.features)
        self.images = captioner._image_keys_values(memory_BND)
        self.length_log_p_BL = captioner._length_logits(memory_BND).log_softmax(-1)

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        self.part.require_whole("masked diffusion cannot draw captions")
        length_p_BL = self.length_log_p_BL.exp()
        length_p_BL[:, 0] = 0  # captions are never empty
        length_BS = torch.multinomial(length_p_BL, samples, replacement=True)
        real_BSL = (
            torch.arange(int(length_BS.max()), device=length_BS.device) < length_BS[..., None]
        )
        p_XV = self._log_p(real_BSL).exp()
        p_XV[:, : UNK + 1] = 0
        words_BSL = torch.zeros(real_BSL.shape, dtype=torch.long, device=length_BS.device)
        words_BSL[real_BSL] = torch.multinomial(p_XV, 1)[:, 0]
        return closed(words_BSL, ~real_BSL)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        words_BSL = captions_BSL[..., :-1]
        real_BSL = (words_BSL != PAD) & (words_BSL != EOS)
        log_p_BSL = torch.zeros(real_BSL.shape, device=real_BSL.device)
        log_p_BSL[real_BSL] = self._log_p(real_BSL).gather(-1, words_BSL[real_BSL][:, None])[:, 0]
        return log_p_BSL.sum(-1) + self.length_log_p_BL.gather(-1, real_BSL.sum(-1))

    def _log_p(self, real_BSL: Tensor) -> Tensor:
        """Return the log-probabilities [X, V] of the words at the X positions that are real."""
        real_BL = real_BSL.flatten(0, 1)
        masked_BL = torch.full(real_BL.shape, self.captioner.mask, device=real_BL.device)
        images = [repeat_rows(image, real_BSL.shape[1]) for image in self.images]
        return self.captioner.head(
            self.captioner._hidden(masked_BL, real_BL, images)[real_BL]
        ).log_softmax(-1)
