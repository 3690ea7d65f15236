"""The autoregressive baseline: a transformer decoder that writes one word at a time.

Vaswani et al. 2017, with the image tokens as memory. Training is cross-entropy on all references of
an image with teacher forcing; with `beta`, it is on the log-mean-exp of their likelihoods, as for
parallel readouts. Decoding caches keys and values, those of cross-attention once per image.

No decoding writes an empty caption. The likelihood (`policy`, `evidence`) is the trained one, in
which the empty caption and unknown words keep their share, because references contain unknown
words. The share of the empty caption is a factor per image, which does not matter: advantages of an
image's samples sum to 0, and reranking compares captions of one image.
"""

from collections.abc import Callable, Iterator
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
from dsacap.baselines.word_sampling import draw_words
from dsacap.captioner.batch_parts import Dropout, places_of
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    closed,
    noise_of,
    until_eos,
)
from dsacap.captioner.layers import DecoderBlock, repeat_rows, take_rows
from dsacap.captioner.reference_loss import reference_loss
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK


class Autoregressive(Captioner):
    """A transformer decoder with greedy search, beam search or sampling."""

    in_parts = True

    @dataclass(frozen=True)
    class Model(EncoderSize):
        """Size and objective.

        Attributes:
            beta: Sharpness of the choice among an image's references
                (dsacap/captioner/reference_loss.py); 0 is the mean over all their words.
        """

        decoder_layers: int = 3
        label_smoothing: float = 0.0
        beta: float = 0.0

        def __post_init__(self):
            if self.beta < 0:
                raise ValueError("needs beta >= 0")

    @dataclass(frozen=True)
    class Decoding:
        """Decoding options.

        Attributes:
            temperature: Sampling temperature; 0 is greedy search.
            top_k: Number of likeliest words to sample from; 0 means all.
            top_p: Probability of the nucleus to sample from; 1 means all words.
            beam: Number of beams; above 1 it is beam search, which excludes a temperature.
            length_penalty: Exponent of the length by which a beam's log-probability is divided.
        """

        temperature: float = 0.0
        top_k: int = 0
        top_p: float = 1.0
        beam: int = 1
        length_penalty: float = 1.0

        def __post_init__(self):
            if self.beam > 1 and self.temperature > 0:
                raise ValueError("beam > 1 and temperature > 0 exclude each other")
            if not 0 < self.top_p <= 1 or self.top_k < 0 or self.beam < 1 or self.temperature < 0:
                raise ValueError("needs 0 < top_p <= 1, top_k >= 0, beam >= 1, temperature >= 0")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0

    def __init__(self, model: Model, spec: ImageSpec):
        super().__init__()
        self.model, self.spec = model, spec
        self.image_encoder = image_encoder(model, spec)
        self.dropout = Dropout(model.dropout)
        self.embed = nn.Embedding(spec.vocabulary, model.width)
        self.position = nn.Parameter(torch.randn(spec.max_words + 1, model.width) * 0.02)
        self.blocks = ModuleList(
            DecoderBlock(model.width, model.heads, model.dropout)
            for _ in range(model.decoder_layers)
        )
        self.norm = nn.LayerNorm(model.width)
        self.head = nn.Linear(model.width, spec.vocabulary)
        nn.init.normal_(self.embed.weight, std=0.02)
        self._caches: dict[int, list[KeysValues]] = {}

    # ------------------------------------------------------------------------------------ training

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of the references, with teacher forcing."""
        captions_BRL = training_captions(batch)
        if self.model.beta:
            buckets = [
                (rows, loss.new_zeros(real.shape).masked_scatter(real, loss).sum(-1))
                for rows, real, loss in self._cross_entropies(batch, "none")
            ]
            rows_X, loss_X = (torch.cat(each) for each in zip(*buckets, strict=True))
            log_prob_BR = -loss_X[rows_X.argsort()].view(captions_BRL.shape[:2])
            return {"loss": reference_loss(log_prob_BR, captions_BRL, self.model.beta)}
        total = sum(loss for _, _, loss in self._cross_entropies(batch, "sum"))
        words = (batch.part.all_captions(captions_BRL) != PAD).sum()
        return {"loss": total / (words * batch.part.share)}

    def _cross_entropies(
        self, batch: Batch, reduction: str
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the cross-entropies of references, in buckets of similar length.

        Yields:
            The references' rows among all of this part [X]; which of their positions are words or
            EOS [X, L]; and the cross-entropies of these, one by one or as a sum.
        """
        captions_BRL = training_captions(batch)
        references = captions_BRL.shape[1]
        targets_BL = captions_BRL.flatten(0, 1)
        inputs_BL = F.pad(targets_BL[:, :-1], (1, 0), value=BOS)
        real_BL = targets_BL != PAD
        images = self._image_keys_values(batch)
        all_known_YL = batch.part.known_captions(captions_BRL).flatten(0, 1) != PAD
        known_BL = batch.part.rows(all_known_YL)
        for known_rows, length in batch.part.length_buckets(all_known_YL):
            rows = known_rows.to(targets_BL.device, non_blocking=True)
            x_BLD = self.dropout(self.embed(inputs_BL[rows, :length]) + self.position[:length])
            for block, image in zip(self.blocks, images, strict=True):
                x_BLD = block(x_BLD, take_rows(image, rows // references), causal=True)
            places = places_of(known_BL[known_rows, :length], rows.device)
            logits = self.head(self.norm(x_BLD.flatten(0, 1)[places]))
            loss = F.cross_entropy(
                logits,
                targets_BL[rows, :length].flatten()[places],
                reduction=reduction,
                label_smoothing=self.model.label_smoothing,
            )
            yield rows, real_BL[rows, :length], loss

    def _image_keys_values(self, batch: Batch) -> list[KeysValues]:
        return image_keys_values(self.blocks, self.image_encoder(batch.features))

    def policy(self, batch: Batch) -> Policy:
        """Return the distribution over captions, factorised word by word."""
        return _WordByWord(self, batch)

    def evidence(self, batch: Batch) -> Policy:
        """See `Captioner.evidence`."""
        return self.policy(batch)

    def speed_up(self, compiled: Callable[[Callable], Callable]) -> None:
        """Compile the step that predicts the next word."""
        replace_method(self, "_next", compiled)
        self.fixed_shapes = True

    # ------------------------------------------------------------------------------------ decoding

    @property
    def completes(self) -> bool:
        """True: a caption can continue a given prefix."""
        return True

    @torch.inference_mode()
    def caption(
        self, batch: Batch, samples: int, seed: int, decoding: Decoding
    ) -> list[list[list[int]]]:
        """Write captions by greedy search, beam search or sampling; see `Captioner.caption`."""
        if decoding.beam > 1:
            return [[until_eos(words)] * samples for words in self._beam_search(batch, decoding)]
        uniform_BL = (
            noise_of(batch, samples, seed, (self.spec.max_words + 1,), "uniform").flatten(0, 1)
            if decoding.random
            else None
        )
        state = _State(self, self._image_keys_values(batch), samples, batch.prefix)
        words_BL = torch.full(
            (state.rows, self.spec.max_words + 1), EOS, device=batch.features.device
        )
        words_B = torch.full((state.rows,), BOS, device=batch.features.device)
        done_B = torch.zeros(state.rows, dtype=torch.bool, device=batch.features.device)
        for place in range(self.spec.max_words):
            logits_BV = state.step(words_B, place)
            if uniform_BL is None:
                words_B = logits_BV.argmax(-1)
            else:
                uniform_B, d = uniform_BL[:, place], decoding
                words_B = draw_words(logits_BV, uniform_B, d.temperature, d.top_k, d.top_p)
            words_BL[:, place] = words_B.masked_fill(done_B, EOS)
            done_B |= words_B == EOS
            if done_B.all():
                break
        captions = [until_eos(words) for words in words_BL.tolist()]
        return by_image(captions, samples)

    def _next(
        self, words_B: Tensor, at_1: Tensor, images: list[KeysValues], caches: list[KeysValues]
    ) -> Tensor:
        """Return the logits [B, V] of the word after `words_B`, whose position is `at_1`.

        Also adds the keys and values of `words_B` to the caches.
        """
        x_B1D = (self.embed(words_B) + self.position[at_1])[:, None]
        past_1L = torch.arange(self.spec.max_words, device=at_1.device)[None] <= at_1
        for block, image, cache in zip(self.blocks, images, caches, strict=True):
            x_B1D = block.step(x_B1D, image, cache, at_1, past_1L)
        return self.head(self.norm(x_B1D[:, 0]))

    def _new_caches(self, keys: Tensor) -> list[KeysValues]:
        """Return empty caches for the caption's words, with as many rows as the image's `keys`.

        A captured graph reads and writes the same memory at every call, so with `fixed_shapes`
        there is one cache for each number of rows, which is used again.
        """
        if self.fixed_shapes and len(keys) in self._caches:
            return self._caches[len(keys)]
        heads, width = self.model.heads, self.model.width
        shape = (len(keys), heads, self.spec.max_words, width // heads)
        caches = [(keys.new_zeros(shape), keys.new_zeros(shape)) for _ in self.blocks]
        if self.fixed_shapes:
            self._caches[len(keys)] = caches
            for cached in (cached for cache in caches for cached in cache):
                torch._dynamo.mark_static_address(cached)
        return caches

    def _beam_search(self, batch: Batch, decoding: Decoding) -> list[list[int]]:
        """Return the beam of each image with the best log-probability / length ** length_penalty.

        A beam that has ended repeats EOS at no cost.
        """
        images, beam, device = len(batch.image_ids), decoding.beam, batch.features.device
        state = _State(self, self._image_keys_values(batch), beam, batch.prefix)
        words_BKL = torch.full((images, beam, self.spec.max_words + 1), EOS, device=device)
        score_BK = torch.full((images, beam), -torch.inf, device=device)
        score_BK[:, 0] = 0  # all beams start out the same: only the first is extended at step 0
        last_BK = torch.full((images, beam), BOS, device=device)
        done_BK = torch.zeros(images, beam, dtype=torch.bool, device=device)
        first_row_B = torch.arange(images, device=device)[:, None] * beam
        for place in range(self.spec.max_words):
            log_p = state.step(last_BK.flatten(), place).log_softmax(-1).view(images, beam, -1)
            only_eos = torch.full_like(log_p[0, 0], -torch.inf)
            only_eos[EOS] = 0
            log_p = torch.where(done_BK[..., None], only_eos, log_p)
            score_BK, chosen = (score_BK[..., None] + log_p).flatten(1).topk(beam)
            parent_BK, last_BK = chosen // log_p.shape[-1], chosen % log_p.shape[-1]
            state.reorder((first_row_B + parent_BK).flatten())
            words_BKL = words_BKL.gather(1, parent_BK[..., None].expand_as(words_BKL))
            words_BKL[:, :, place] = last_BK
            done_BK = done_BK.gather(1, parent_BK) | (last_BK == EOS)
            if done_BK.all():
                break
        length_BK = (words_BKL != EOS).sum(-1) + 1
        best_B = (score_BK / length_BK**decoding.length_penalty).argmax(-1)
        return words_BKL[torch.arange(images, device=device), best_B].tolist()


class _WordByWord(Policy):
    stops_early = True

    def __init__(self, captioner: Autoregressive, batch: Batch):
        self.captioner, self.images = captioner, captioner._image_keys_values(batch)
        self.part = batch.part

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        state = _State(self.captioner, self.images, samples)
        words_B = torch.full((state.rows,), BOS, device=self.images[0][0].device)
        words, ended = [], [torch.zeros_like(words_B, dtype=torch.bool)]
        for place in range(self.captioner.spec.max_words):
            logits_BV = state.step(words_B, place)
            words_B = self.part.multinomial(logits_BV.softmax(-1), 1)[:, 0]
            words.append(words_B)
            ended.append(ended[-1] | (words_B == EOS))
            if ended[-1].all():
                break
        words_BSL, ended_BSL = (
            torch.stack(each, -1).unflatten(0, (-1, samples)) for each in (words, ended[1:])
        )
        return closed(words_BSL, ended_BSL)

    def log_prob(self, captions_BSL: Tensor) -> Tensor:
        c, targets_BL = self.captioner, captions_BSL.flatten(0, 1)
        inputs_BL = F.pad(targets_BL[:, :-1], (1, 0), value=BOS)
        x_BLD = c.embed(inputs_BL) + c.position[: targets_BL.shape[1]]
        for block, image in zip(c.blocks, self.images, strict=True):
            x_BLD = block(x_BLD, repeat_rows(image, captions_BSL.shape[1]), causal=True)
        real_BL = targets_BL != PAD
        real_BL[:, c.spec.max_words :] = False  # a caption that is cut there never drew its EOS
        log_p_BL = torch.zeros(targets_BL.shape, device=targets_BL.device)
        log_p_BL[real_BL] = -F.cross_entropy(
            c.head(c.norm(x_BLD[real_BL])), targets_BL[real_BL], reduction="none"
        )
        return log_p_BL.sum(-1).view(captions_BSL.shape[:2])


class _State:
    """What decoding keeps between words: the image's keys and values, and the caption's caches."""

    def __init__(
        self,
        captioner: Autoregressive,
        images: list[KeysValues],
        samples: int,
        prefix_BP: Tensor | None = None,
    ):
        self.captioner, self.images = captioner, [repeat_rows(image, samples) for image in images]
        self.prefix_BP = None if prefix_BP is None else prefix_BP.repeat_interleave(samples, 0)
        self.rows = len(self.images[0][0])
        self.places = torch.arange(captioner.spec.max_words, device=self.images[0][0].device)[
            :, None
        ]
        self.caches = captioner._new_caches(self.images[0][0])

    def step(self, words_B: Tensor, place: int) -> Tensor:
        """Return the logits [B, V] of the word after `words_B`, with forbidden words at -inf."""
        c = self.captioner
        logits_BV = c._next(words_B, self.places[place], self.images, self.caches)
        is_too_early = c.endless or place == 0  # captions are never empty
        for word in (PAD, BOS, UNK, EOS) if is_too_early else (PAD, BOS, UNK):
            logits_BV[:, word] = -torch.inf
        if self.prefix_BP is not None and place < self.prefix_BP.shape[1]:
            only_B1 = self.prefix_BP[:, place : place + 1]
            return torch.full_like(logits_BV, -torch.inf).scatter(1, only_B1, 0.0)
        return logits_BV

    def reorder(self, rows_B: Tensor) -> None:
        for cache in self.caches:
            for cached in cache:
                cached.copy_(cached[rows_B])
