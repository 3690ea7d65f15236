"""ClipCap: the image becomes a few embeddings before the first word of a causal language model.

Mokady et al. 2021, arXiv 2111.09734. The mapper from image to embeddings is one of the paper's: an
MLP with one hidden layer and tanh on the pooled image, for a language model that is tuned with it;
or a transformer over the image tokens and one learned constant per embedding of the prefix, for a
language model that may stay frozen (section 3.3). Training is cross-entropy on all references
(eq. 2).

The language model is GPT-2 or another pretrained one, which then uses its own tokens; or, without
pretrained weights, a small GPT-2 over the benchmark's words, trained with the mapper. Deviations:

- The image is the frozen encoder's tokens, for the MLP their mean, unless `image: class` asks for
  what comes next to CLIP's own vector (prefix_mappers.py).
- Input and output embeddings are two matrices.
- Words of a pretrained language model that the benchmark's vocabulary lacks are dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from dsacap.baselines.pieces import Pieces, from_pretrained, untie
from dsacap.baselines.prefix_mappers import MLPMapper, TransformerMapper, check_class_token
from dsacap.baselines.shared import replace_method, training_captions
from dsacap.captioner.batch_parts import places_of
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    until_eos,
)
from dsacap.captioner.random_numbers import noise_of
from dsacap.common.files import check_pinned
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

# Largest number of a pretrained language model's tokens per word, on the average of a caption.
_TOKENS_PER_WORD = 3


class PrefixLM(Captioner):
    """A language model that continues a prefix of embeddings of the image."""

    @dataclass(frozen=True)
    class Model:
        """Size and objective.

        Attributes:
            prefix: Number of embeddings of the image.
            mapper: What computes them: `mlp` or `transformer`.
            mapper_layers: Layers of the transformer.
            image: What the mapper reads: all `tokens`, or the `class` token, of which CLIP's own
                vector is a projection.
            language_model: A pretrained language model: a name on the hub, or a folder in
                transformers' format. Without one, a small GPT-2 is trained.
            revision: The commit of a language model on the hub.
            frozen: Whether the pretrained language model stays as it is.
            width: Width of the small GPT-2.
            heads: Attention heads of the small GPT-2.
            layers: Layers of the small GPT-2.
            dropout: Dropout of the small GPT-2, and of the mapper if it is a transformer.
        """

        prefix: int = 10
        mapper: str = "mlp"
        mapper_layers: int = 2
        image: Literal["tokens", "class"] = "tokens"
        language_model: str | None = None
        revision: str | None = None
        frozen: bool = False
        width: int = 128
        heads: int = 4
        layers: int = 3
        dropout: float = 0.0

        def __post_init__(self):
            if self.mapper not in ("mlp", "transformer"):
                raise ValueError(f"mapper: {self.mapper!r} is neither mlp nor transformer")
            if self.image not in ("tokens", "class"):
                raise ValueError(f"image: {self.image!r} is neither tokens nor class")
            if self.language_model:
                check_pinned(self.language_model, self.revision)
            if self.frozen and not self.language_model:
                raise ValueError("frozen needs a language_model, since new weights must be trained")
            if self.prefix < 1 or self.mapper_layers < 1:
                raise ValueError("needs prefix >= 1 and mapper_layers >= 1")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            temperature: Sampling temperature; 0 is greedy search.
            beam: Number of beams; above 1 it is beam search, which excludes a temperature.
            length_penalty: Exponent of the length by which a beam's log-probability is divided.
        """

        temperature: float = 0.0
        beam: int = 1
        length_penalty: float = 1.0

        def __post_init__(self):
            if self.beam > 1 and self.temperature > 0:
                raise ValueError("beam > 1 and temperature > 0 exclude each other")
            if self.beam < 1 or self.temperature < 0:
                raise ValueError("needs beam >= 1 and temperature >= 0")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.words: _BenchmarkWords | _PretrainedTokens = (
            _BenchmarkWords(spec)
            if model.language_model is None
            else _PretrainedTokens(model.language_model, model.revision, spec)
        )
        self.lm = self.words.new_language_model(model).requires_grad_(not model.frozen)
        width = self.lm.get_input_embeddings().weight.shape[1]
        class_token = model.image == "class"
        if class_token:
            check_class_token(spec)
        self.mapper: MLPMapper | TransformerMapper = (
            MLPMapper(spec, model.prefix, width, class_token)
            if model.mapper == "mlp"
            else TransformerMapper(
                spec, model.prefix, width, class_token, model.mapper_layers, model.dropout
            )
        )
        # transformers' own dropout would draw other random numbers for parts than for the whole.
        self.in_parts = model.language_model is None and not model.dropout

    @property
    def passes(self) -> list[nn.Module]:
        """The language model, whose calls count as passes of the network."""
        return [self.lm]

    # ------------------------------------------------------------------------------------ training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy over the tokens of all references (eq. 2)."""
        captions_BRL = training_captions(batch)
        targets_XT = self.words.tokens(captions_BRL.flatten(0, 1))
        log_p_XT = self._log_probs(batch, targets_XT)
        part = batch.part
        known_XT = self.words.tokens(part.known_captions(captions_BRL).flatten(0, 1)) >= 0
        if part.share == 1:
            return {"loss": -log_p_XT.flatten()[places_of(known_XT, log_p_XT.device)].mean()}
        tokens = known_XT.sum()
        return {"loss": -log_p_XT.sum() / (tokens * part.share)}

    def _log_probs(self, batch: Batch, targets_XT: Tensor) -> Tensor:
        """Return the log-probability [X, T] of each token given those before it.

        `targets_XT` is -1 after the end of a caption, where the log-probability is 0.
        """
        prefix_XPD = self.mapper(batch.features).repeat_interleave(
            len(targets_XT) // len(batch.image_ids), 0
        )
        tokens_XTD = self.lm.get_input_embeddings()(targets_XT.clamp_min(0)[:, :-1])
        logits_XTV = self.lm(inputs_embeds=torch.cat([prefix_XPD, tokens_XTD], 1)).logits[
            :, self.model.prefix - 1 :
        ]
        return -F.cross_entropy(logits_XTV.mT, targets_XT, ignore_index=-1, reduction="none")

    def policy(self, batch: Batch) -> Policy:
        """Return the distribution over captions; UserError for a pretrained language model."""
        if self.model.language_model:
            return super().policy(batch)
        return _TokenByToken(self, batch)

    def evidence(self, batch: Batch) -> Policy:
        """See `Captioner.evidence`."""
        return self.policy(batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the language model's forward pass."""
        replace_method(self.lm, "forward", compiled)
        self.fixed_shapes = True

    # ------------------------------------------------------------------------------------ decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by greedy search, beam search or sampling; see `Captioner.caption`."""
        distinct = samples if decoding.random else 1
        processors = []
        if decoding.random:
            shape = (self.words.longest, self.lm.config.vocab_size)
            gumbel_XTV = -torch.log(
                -torch.log(
                    noise_of(batch, distinct, seed, shape, "uniform")
                    .flatten(0, 1)
                    .clamp(1e-9, 1 - 1e-7)
                )
            )
            processors = [_gumbel_processor(gumbel_XTV, decoding.temperature)]
        tokens_XT = self._generate(
            batch,
            distinct,
            num_beams=decoding.beam,
            length_penalty=decoding.length_penalty,
            logits_processor=processors,
        )
        captions = self.words.word_ids(tokens_XT)
        return [image * (samples // distinct) for image in by_image(captions, distinct)]

    def _generate(self, batch: Batch, samples: int, **options: Any) -> Tensor:
        """Return tokens [X, T] of `samples` captions per image; `options` are of `generate`."""
        prefix_XPD = self.mapper(batch.features).repeat_interleave(samples, 0)
        return self.lm.generate(
            inputs_embeds=prefix_XPD,
            attention_mask=torch.ones(
                prefix_XPD.shape[:2], dtype=torch.long, device=prefix_XPD.device
            ),
            max_new_tokens=self.words.longest,
            min_new_tokens=self.words.longest if self.endless else None,
            suppress_tokens=self.words.forbidden,
            begin_suppress_tokens=[self.words.end],  # captions are never empty
            eos_token_id=self.words.end,
            pad_token_id=self.words.end,
            cache_implementation="static" if self.fixed_shapes else None,
            **({"do_sample": False} | options),
        )


def _gumbel_processor(gumbel_XTV: Tensor, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a logits processor with which greedy search draws samples.

    The largest logit with Gumbel noise is a sample. So each caption depends on its own random
    numbers alone.
    """
    return lambda tokens_XT, logits_XV: logits_XV / temperature + gumbel_XTV[:, tokens_XT.shape[1]]


class _TokenByToken(Policy):
    def __init__(self, captioner: PrefixLM, batch: Batch):
        self.captioner, self.batch = captioner, batch

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        self.batch.part.require_whole("a prefix language model cannot draw captions")
        c = self.captioner
        words_XL = c._generate(self.batch, samples, do_sample=True, top_k=0)
        ended_XL = (words_XL == EOS).cumsum(-1) > 0
        # One EOS, then PAD.
        words_XL = F.pad(words_XL, (0, 1), value=EOS).masked_fill(F.pad(ended_XL, (1, 0)), PAD)
        return words_XL.masked_fill((words_XL == EOS).cumsum(-1) > 1, PAD).unflatten(
            0, (-1, samples)
        )

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        targets_XT = self.captioner.words.tokens(captions_BSL.flatten(0, 1))
        log_p_XT = self.captioner._log_probs(self.batch, targets_XT)
        # A caption that is cut at the largest length never drew its EOS.
        log_p_XT = log_p_XT[:, : self.captioner.spec.max_words]
        return log_p_XT.sum(-1).view(captions_BSL.shape[:2])


# -------------------------------------------------------------------------------- words and tokens


class _BenchmarkWords:
    """The tokens of the small GPT-2, which are the benchmark's words."""

    def __init__(self, spec: ImageSpec):
        self.spec, self.longest, self.end = spec, spec.max_words, EOS
        self.forbidden = [PAD, BOS, UNK]

    def new_language_model(self, model: PrefixLM.Model) -> Any:  # transformers has no fitting type
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=self.spec.vocabulary,
                n_embd=model.width,
                n_layer=model.layers,
                n_head=model.heads,
                n_positions=model.prefix + self.spec.max_words + 1,
                resid_pdrop=model.dropout,
                embd_pdrop=model.dropout,
                attn_pdrop=model.dropout,
                bos_token_id=BOS,
                eos_token_id=EOS,
                pad_token_id=PAD,
                tie_word_embeddings=False,
            )
        )

    def tokens(self, captions_XL: Tensor) -> Tensor:
        return captions_XL.masked_fill(captions_XL == PAD, -1)

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        return [until_eos(words) for words in tokens_XT.tolist()]


class _PretrainedTokens:
    """The tokens of a pretrained language model."""

    def __init__(self, name: str, revision: str | None, spec: ImageSpec):
        self.name, self.revision = name, revision
        self.pieces = Pieces(name, revision, spec, _TOKENS_PER_WORD * spec.max_words)
        self.end, self.longest = self.pieces.tokenizer.eos_token_id, self.pieces.longest
        self.forbidden = None

    def new_language_model(self, _: PrefixLM.Model) -> Any:
        lm = from_pretrained(AutoModelForCausalLM, self.name, self.revision)
        untie(lm)
        return lm

    def tokens(self, captions_XL: Tensor) -> Tensor:
        ids = self.pieces.encode(captions_XL, self.end)
        longest = max(map(len, ids))
        return torch.tensor(
            [tokens + [-1] * (longest - len(tokens)) for tokens in ids], device=captions_XL.device
        )

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        return self.pieces.decode(tokens_XT.tolist())
