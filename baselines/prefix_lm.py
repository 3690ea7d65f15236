"""ClipCap (Mokady et al. 2021, arXiv 2111.09734): the image becomes a few embeddings before the first word of a causal language model.

The mapper is the paper's: an MLP with one hidden layer and tanh on the pooled image, beside a language model that is tuned with it; or a
transformer over the image's tokens and as many learned constants as the prefix is long, for a language model that may stay frozen
(section 3.3). Training is cross-entropy on all references (eq. 2).

The language model is GPT-2 or another by name, which then speaks in tokens of its own, or, where no weights can be had, a small GPT-2 of
the benchmark's words, trained with the mapper. Deviations: the pooled image is the mean of the frozen encoder's tokens; input and output
embeddings are two matrices; of what a named language model says, words that the benchmark's vocabulary lacks are dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from baselines.pieces import Pieces, from_pretrained, untie
from dsacap.captioner.batch_parts import only_whole, share, whole
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    noise_of,
    until_eos,
)
from dsacap.captioner.layers import EncoderBlock
from dsacap.common.files import check_pinned
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK

_PIECES = (
    3  # tokens of a named language model that a word takes at most, on the average of a caption
)


class PrefixLM(Captioner):
    @dataclass(frozen=True)
    class Model:
        """`prefix` embeddings by a `mapper`: mlp, or transformer of `mapper_layers`. `language_model`, with the commit of a name of the
        hub, may be `frozen`; without one, `width`, `heads`, `layers` and `dropout` are those of a small one."""

        prefix: int = 10
        mapper: str = "mlp"
        mapper_layers: int = 2
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
            if self.language_model:
                check_pinned(self.language_model, self.revision)
            if self.frozen and not self.language_model:
                raise ValueError("frozen needs a language_model that has learnt something")
            if self.prefix < 1 or self.mapper_layers < 1:
                raise ValueError("needs prefix >= 1 and mapper_layers >= 1")

    @dataclass(frozen=True)
    class Decoding:
        """`temperature` 0 is greedy search; `beam` > 1 is beam search and leaves no room for a temperature."""

        temperature: float = 0.0
        beam: int = 1
        length_penalty: float = 1.0

        def __post_init__(self):
            if self.beam > 1 and self.temperature > 0:
                raise ValueError("beam search and a temperature exclude each other")
            if self.beam < 1 or self.temperature < 0:
                raise ValueError("needs beam >= 1, temperature >= 0")

        @property
        def random(self) -> bool:
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.words = (
            _BenchmarkWords(spec) if model.language_model is None else _NamedWords(model, spec)
        )
        self.lm = self.words.new_language_model(model).requires_grad_(not model.frozen)
        width = self.lm.get_input_embeddings().weight.shape[1]
        mapper = {"mlp": _MLP, "transformer": _Transformer}[model.mapper]
        self.mapper = mapper(model, spec, width)

    @property
    def in_parts(self) -> bool:
        """Not where transformers' layers drop out, which draw for themselves."""
        return self.model.language_model is None and not self.model.dropout

    @property
    def passes(self) -> list[nn.Module]:
        return [self.lm]

    # ------------------------------------------------------------------------------------------------------- training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        targets_XT = self.words.tokens(batch.captions.flatten(0, 1))
        log_p_XT = self._log_probs(batch, targets_XT)
        if share() == 1:
            return {"loss": -log_p_XT[targets_XT >= 0].mean()}
        tokens = (self.words.tokens(whole(batch.captions).flatten(0, 1)) >= 0).sum()
        return {"loss": -log_p_XT.sum() / (tokens * share())}

    def _log_probs(self, batch: Batch, targets_XT: Tensor) -> Tensor:
        """Of each token given those before it [X, T]; `targets_XT` are tokens, -1 after the end. 0 there."""
        prefix_XPD = self.mapper(batch.features).repeat_interleave(
            len(targets_XT) // len(batch.image_ids), 0
        )
        said_XTD = self.lm.get_input_embeddings()(targets_XT.clamp_min(0)[:, :-1])
        logits_XTV = self.lm(inputs_embeds=torch.cat([prefix_XPD, said_XTD], 1)).logits[
            :, self.model.prefix - 1 :
        ]
        return -F.cross_entropy(logits_XTV.mT, targets_XT, ignore_index=-1, reduction="none")

    def policy(self, batch: Batch) -> Policy:
        if self.model.language_model:
            return super().policy(batch)
        return _TokenByToken(self, batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        self.lm.forward, self.fixed_shapes = compiled(self.lm.forward), True

    # ------------------------------------------------------------------------------------------------------- decoding

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        drawn = samples if decoding.random else 1
        choose = []
        if decoding.random:
            shape = (self.words.longest, self.lm.config.vocab_size)
            gumbel_XTV = -torch.log(
                -torch.log(
                    noise_of(batch, drawn, seed, shape, "uniform")
                    .flatten(0, 1)
                    .clamp(1e-9, 1 - 1e-7)
                )
            )
            choose = [_drawn_by(gumbel_XTV, decoding.temperature)]
        tokens_XT = self._generate(
            batch,
            drawn,
            num_beams=decoding.beam,
            length_penalty=decoding.length_penalty,
            logits_processor=choose,
        )
        captions = self.words.word_ids(tokens_XT)
        return [said * (samples // drawn) for said in by_image(captions, drawn)]

    def _generate(self, batch: Batch, samples: int, **how) -> Tensor:
        prefix_XPD = self.mapper(batch.features).repeat_interleave(samples, 0)
        return self.lm.generate(
            inputs_embeds=prefix_XPD,
            attention_mask=torch.ones(
                prefix_XPD.shape[:2], dtype=torch.long, device=prefix_XPD.device
            ),
            max_new_tokens=self.words.longest,
            min_new_tokens=self.words.longest if self.endless else None,
            suppress_tokens=self.words.never,
            eos_token_id=self.words.end,
            pad_token_id=self.words.end,
            cache_implementation="static" if self.fixed_shapes else None,
            **({"do_sample": False} | how),
        )


def _drawn_by(gumbel_XTV: Tensor, temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A draw as the largest of logits with Gumbel noise, which makes each caption depend on its own random numbers alone."""
    return lambda said_XT, logits_XV: logits_XV / temperature + gumbel_XTV[:, said_XT.shape[1]]


class _TokenByToken(Policy):
    def __init__(self, captioner: PrefixLM, batch: Batch):
        self.captioner, self.batch = captioner, batch

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        only_whole("a prefix language model cannot draw captions")
        c = self.captioner
        words_XL = c._generate(
            self.batch, samples, do_sample=True, top_k=0, begin_suppress_tokens=[EOS]
        )
        ended_XL = (words_XL == EOS).cumsum(-1) > 0
        words_XL = F.pad(words_XL, (0, 1), value=EOS).masked_fill(
            F.pad(ended_XL, (1, 0)), PAD
        )  # one EOS, then PAD
        return words_XL.masked_fill((words_XL == EOS).cumsum(-1) > 1, PAD).unflatten(
            0, (-1, samples)
        )

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        targets_XT = self.captioner.words.tokens(captions_BSL.flatten(0, 1))
        log_p_XT = self.captioner._log_probs(self.batch, targets_XT)
        log_p_XT = log_p_XT[
            :, : self.captioner.spec.max_words
        ]  # a caption that is cut there has not drawn its end
        return log_p_XT.sum(-1).view(captions_BSL.shape[:2])


# ----------------------------------------------------------------------------------------------------------- mappers


class _MLP(nn.Module):
    def __init__(self, model: PrefixLM.Model, spec: ImageSpec, width: int):
        super().__init__()
        self.shape, hidden = (model.prefix, width), model.prefix * width // 2
        self.layers = nn.Sequential(
            nn.Linear(spec.channels, hidden), nn.Tanh(), nn.Linear(hidden, model.prefix * width)
        )

    def forward(self, features_BNC: Tensor) -> Tensor:
        return self.layers(features_BNC.mean(1)).unflatten(-1, self.shape)


class _Transformer(nn.Module):
    def __init__(self, model: PrefixLM.Model, spec: ImageSpec, width: int):
        super().__init__()
        self.project = nn.Linear(spec.channels, width)
        self.position = nn.Parameter(torch.randn(spec.tokens, width) * 0.02)
        self.constants = nn.Parameter(torch.randn(model.prefix, width) * 0.02)
        heads = next(heads for heads in (8, 4, 2, 1) if width % heads == 0)
        self.blocks = nn.ModuleList(
            EncoderBlock(width, heads, model.dropout) for _ in range(model.mapper_layers)
        )

    def forward(self, features_BNC: Tensor) -> Tensor:
        x_BND = self.project(features_BNC) + self.position
        x_BND = torch.cat([x_BND, self.constants.expand(len(x_BND), -1, -1)], dim=1)
        for block in self.blocks:
            x_BND = block(x_BND)
        return x_BND[:, -len(self.constants) :]


# ----------------------------------------------------------------------------------------------------------- words and tokens


class _BenchmarkWords:
    """Tokens are the benchmark's words."""

    def __init__(self, spec: ImageSpec):
        self.spec, self.longest, self.end, self.never = spec, spec.max_words, EOS, [PAD, BOS, UNK]

    def new_language_model(self, model: PrefixLM.Model) -> nn.Module:
        dropout = {name: model.dropout for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
        positions = model.prefix + self.spec.max_words + 1
        sizes = {
            "n_embd": model.width,
            "n_layer": model.layers,
            "n_head": model.heads,
            "n_positions": positions,
        }
        ids = {
            "bos_token_id": BOS,
            "eos_token_id": EOS,
            "pad_token_id": PAD,
            "tie_word_embeddings": False,
        }
        return GPT2LMHeadModel(
            GPT2Config(vocab_size=self.spec.vocabulary, **sizes, **dropout, **ids)
        )

    def tokens(self, captions_XL: Tensor) -> Tensor:
        return captions_XL.masked_fill(captions_XL == PAD, -1)

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        return [until_eos(words) for words in tokens_XT.tolist()]


class _NamedWords:
    """Tokens are those of a named language model."""

    def __init__(self, model: PrefixLM.Model, spec: ImageSpec):
        self.pieces = Pieces(model.language_model, model.revision, spec, _PIECES * spec.max_words)
        self.end, self.never, self.longest = (
            self.pieces.tokenizer.eos_token_id,
            None,
            self.pieces.longest,
        )

    def new_language_model(self, model: PrefixLM.Model) -> nn.Module:
        lm = from_pretrained(AutoModelForCausalLM, model.language_model, model.revision)
        untie(lm)
        return lm

    def tokens(self, captions_XL: Tensor) -> Tensor:
        ids = self.pieces.of(captions_XL, self.end)
        longest = max(map(len, ids))
        return torch.tensor(
            [each + [-1] * (longest - len(each)) for each in ids], device=captions_XL.device
        )

    def word_ids(self, tokens_XT: Tensor) -> list[list[int]]:
        return self.pieces.word_ids(tokens_XT.tolist())
