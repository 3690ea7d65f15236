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
from dsacap.baselines.word_search import beam_search, words_in_turn
from dsacap.captioner.batch_parts import Dropout, places_of
from dsacap.captioner.interface import (
    Batch,
    Captioner,
    ImageSpec,
    Policy,
    by_image,
    closed,
    until_eos,
)
from dsacap.captioner.layers import DecoderBlock, repeat_rows, take_rows
from dsacap.captioner.random_numbers import noise_of
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
            turn_penalty: Above 0, the captions of an image are written greedily in turn, and a word
                loses this many nats for each caption before that has it at the same place (diverse
                beam search, dsacap/baselines/word_search.py). They come in random order.
        """

        temperature: float = 0.0
        top_k: int = 0
        top_p: float = 1.0
        beam: int = 1
        length_penalty: float = 1.0
        turn_penalty: float = 0.0

        def __post_init__(self):
            if (self.beam > 1) + (self.temperature > 0) + (self.turn_penalty > 0) > 1:
                raise ValueError(
                    "of beam > 1, temperature > 0 and turn_penalty > 0 only one is possible"
                )
            if not 0 < self.top_p <= 1 or self.top_k < 0 or self.beam < 1 or self.temperature < 0:
                raise ValueError("needs 0 < top_p <= 1, top_k >= 0, beam >= 1, temperature >= 0")
            if self.turn_penalty < 0:
                raise ValueError("needs turn_penalty >= 0")

        @property
        def random(self) -> bool:
            """Whether several captions of an image differ."""
            return self.temperature > 0 or self.turn_penalty > 0

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
            images, beam, penalty = len(batch.image_ids), decoding.beam, decoding.length_penalty
            state = _State(self, self._image_keys_values(batch), beam, batch.prefix)
            best = beam_search(
                state, images, beam, self.spec.max_words, penalty, batch.features.device
            )
            return [[until_eos(words)] * samples for words in best]
        uniform_BL = (
            noise_of(batch, samples, seed, (self.spec.max_words + 1,), "uniform").flatten(0, 1)
            if decoding.temperature
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
            if decoding.turn_penalty:
                words_B = words_in_turn(logits_BV, samples, decoding.turn_penalty, done_B)
            elif uniform_BL is None:
                words_B = logits_BV.argmax(-1)
            else:
                uniform_B, d = uniform_BL[:, place], decoding
                words_B = draw_words(logits_BV, uniform_B, d.temperature, d.top_k, d.top_p)
            words_BL[:, place] = words_B.masked_fill(done_B, EOS)
            done_B |= words_B == EOS
            if done_B.all():
                break
        captions = by_image([until_eos(words) for words in words_BL.tolist()], samples)
        if decoding.turn_penalty:  # the first written is the best, and any may be scored
            order_BS = noise_of(batch, samples, seed, (), "uniform").argsort(-1).tolist()
            captions = [
                [of_image[at] for at in order]
                for of_image, order in zip(captions, order_BS, strict=True)
            ]
        return captions

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
