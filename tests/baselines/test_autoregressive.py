import itertools

import pytest
import torch
import torch.nn.functional as F

from dsacap.baselines.autoregressive import Autoregressive, _State
from dsacap.baselines.word_sampling import draw_words
from dsacap.captioner.interface import Batch, ImageSpec
from dsacap.text.vocabulary import BOS, EOS, PAD, UNK
from helpers import SPEC, part_of, random_batch


def make(spec=SPEC, **model) -> Autoregressive:
    torch.manual_seed(1)
    captioner = Autoregressive(
        Autoregressive.Model(width=16, heads=2, encoder_layers=1, decoder_layers=2, **model), spec
    ).eval()
    with torch.no_grad():
        captioner.head.weight.mul_(6)  # far from uniform, so that no choice is a near tie
    return captioner


def teacher_forced(captioner: Autoregressive, batch: Batch, words_BL: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities [B, L] of `words_BL`, computed without a cache."""
    inputs = F.pad(words_BL[:, :-1], (1, 0), value=BOS)
    x = captioner.embed(inputs) + captioner.position[: inputs.shape[1]]
    for block, image in zip(captioner.blocks, captioner._image_keys_values(batch), strict=True):
        x = block(x, image, causal=True)
    logits = captioner.head(captioner.norm(x))
    logits[..., [PAD, BOS, UNK]] = -torch.inf
    logits[:, 0, EOS] = -torch.inf
    return logits.log_softmax(-1).gather(-1, words_BL[..., None])[..., 0]


@torch.inference_mode()
def test_cached_steps_equal_teacher_forcing():
    captioner, batch = make(), random_batch(4, references=1)
    words = batch.captions[:, 0].masked_fill(batch.captions[:, 0] == PAD, EOS)
    state = _State(captioner, captioner._image_keys_values(batch), 1)
    previous, stepped = torch.full((4,), BOS), []
    for place in range(SPEC.max_words):
        log_p = state.step(previous, place).log_softmax(-1)
        stepped.append(log_p.gather(-1, words[:, place : place + 1])[:, 0])
        previous = words[:, place]
    torch.testing.assert_close(
        torch.stack(stepped, 1), teacher_forced(captioner, batch, words)[:, : SPEC.max_words]
    )


def cross_entropies(captioner: Autoregressive, batch: Batch, **options) -> torch.Tensor:
    """Return the cross-entropies of all references' words, without buckets."""
    flat = batch.captions.flatten(0, 1)
    rows = Batch(batch.image_ids, batch.features.repeat_interleave(batch.captions.shape[1], 0))
    inputs = F.pad(flat[:, :-1], (1, 0), value=BOS)
    x = captioner.embed(inputs) + captioner.position[: inputs.shape[1]]
    for block, image in zip(captioner.blocks, captioner._image_keys_values(rows), strict=True):
        x = block(x, image, causal=True)
    return F.cross_entropy(
        captioner.head(captioner.norm(x)).flatten(0, 1), flat.flatten(), ignore_index=PAD, **options
    )


def test_loss_is_the_mean_over_real_words_whatever_the_buckets():
    captioner, batch = make(), random_batch(5)
    torch.testing.assert_close(captioner.loss(batch)["loss"], cross_entropies(captioner, batch))


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("references", [1, 3])
def test_beta_lets_an_image_commit_to_a_reference(references, smoothing):
    captioner, batch = make(beta=4.0, label_smoothing=smoothing), random_batch(5, references)
    losses = cross_entropies(captioner, batch, reduction="none", label_smoothing=smoothing).view(
        batch.captions.shape
    )
    per_word = losses.sum(-1) / (batch.captions != PAD).sum(-1)
    expected = -((-4 * per_word).exp().mean(1).log() / 4).mean()
    torch.testing.assert_close(captioner.loss(batch)["loss"], expected)
    captioner.loss(batch)["loss"].backward()
    assert all(
        p.grad.abs().any()
        for name, p in captioner.named_parameters()
        if not name.endswith("key_value.bias")
    )
    assert (
        captioner.loss(batch)["loss"]
        < make(beta=1e-3, label_smoothing=smoothing).loss(batch)["loss"] + 1e-6
    )


def test_a_negative_beta_is_refused():
    with pytest.raises(ValueError, match="beta >= 0"):
        Autoregressive.Model(beta=-1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.8},
        {"temperature": 1.0, "top_p": 0.6},
        {"beam": 3},
        {"turn_penalty": 0.5},
    ],
)
def test_captions_do_not_depend_on_the_batch(options):
    captioner, batch, decoding = make(), random_batch(5), Autoregressive.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(5)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


@torch.inference_mode()
def test_a_wide_beam_finds_the_best_caption_of_all():
    spec = ImageSpec(SPEC.tokens, SPEC.channels, vocabulary=7, max_words=3)
    captioner, batch = make(spec), part_of(random_batch(3), slice(0, 3))
    found = captioner.caption(batch, 1, 0, Autoregressive.Decoding(beam=60, length_penalty=1.0))
    for b in range(3):
        image, scores = part_of(batch, slice(b, b + 1)), {}
        for n in range(1, spec.max_words + 1):
            for caption in itertools.product(range(UNK + 1, spec.vocabulary), repeat=n):
                words = torch.tensor([[*caption, EOS][: spec.max_words]])
                scores[caption] = teacher_forced(captioner, image, words).sum().item() / (n + 1)
        assert tuple(found[b][0]) == max(scores, key=scores.get)


@torch.inference_mode()
def test_captions_in_turn_avoid_the_words_before_them():
    """Compared with writing each caption alone, knowing those before it."""
    captioner, batch = make(), part_of(random_batch(3), slice(0, 1))
    decoding = Autoregressive.Decoding(turn_penalty=3.0)
    before: list[list[int]] = []
    for _ in range(4):
        words: list[int] = []
        while len(words) < SPEC.max_words and EOS not in words:
            scores = {}
            for word in [*range(UNK + 1, SPEC.vocabulary), *([EOS] if words else [])]:
                log_p = teacher_forced(captioner, batch, torch.tensor([[*words, word]]))[0, -1]
                taken = sum(others[len(words) : len(words) + 1] == [word] for others in before)
                scores[word] = log_p.item() - decoding.turn_penalty * taken * (word != EOS)
            words.append(max(scores, key=scores.get))
        before.append(words)
    by_hand = [[word for word in words if word != EOS] for words in before]
    found = [captioner.caption(batch, 4, seed, decoding)[0] for seed in range(8)]
    assert all(sorted(captions) == sorted(by_hand) for captions in found)
    assert len(set(map(tuple, by_hand))) > 1
    assert len({tuple(captions[0]) for captions in found}) > 1  # any may be the first
    greedy = captioner.caption(batch, 1, 0, Autoregressive.Decoding())
    assert captioner.caption(batch, 1, 0, decoding) == greedy


def silent() -> Autoregressive:
    """Return a captioner that would rather say nothing."""
    captioner = make()
    with torch.no_grad():
        captioner.head.bias[EOS] += 60
    return captioner


@pytest.mark.parametrize("options", [{}, {"beam": 3}, {"temperature": 1.0}, {"turn_penalty": 1.0}])
def test_no_caption_is_empty(options):
    captions = silent().caption(random_batch(4), 2, 0, Autoregressive.Decoding(**options))
    assert {len(caption) for image in captions for caption in image} == {1}


@torch.inference_mode()
def test_the_likelihood_leaves_its_share_to_the_empty_caption():
    """Without unknown words, all captions together have a probability of 1."""
    spec = ImageSpec(SPEC.tokens, SPEC.channels, vocabulary=6, max_words=2)
    captioner = make(spec)
    captioner.head.bias[[PAD, BOS, UNK]] = -90
    texts = [text for n in range(3) for text in itertools.product((4, 5), repeat=n)]
    captions = torch.tensor([[*text, EOS, *[PAD] * (2 - len(text))] for text in texts])
    batch = part_of(random_batch(1), slice(0, 1))
    p = captioner.policy(batch).log_prob(captions[None])[0].exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-5) and p[0] > 1e-3


def test_sampling_follows_temperature_nucleus_and_top_k():
    logits = torch.tensor([[0.0, 2.0, 1.0, -1.0]]).expand(20_000, -1)
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    plain = torch.bincount(draw_words(logits, uniform, temperature=2.0), minlength=4) / 20_000
    torch.testing.assert_close(plain, (logits[0] / 2).softmax(-1), atol=1e-3, rtol=0)
    nucleus = torch.bincount(draw_words(logits, uniform, temperature=1.0, top_p=0.7), minlength=4)
    assert nucleus[0] == nucleus[3] == 0 and nucleus[1] > nucleus[2] > 0
    top = torch.bincount(draw_words(logits, uniform, temperature=1.0, top_k=2), minlength=4)
    torch.testing.assert_close(
        top[[1, 2]] / 20_000, logits[0, [1, 2]].softmax(-1), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize(
    "options",
    [
        {"beam": 2, "temperature": 0.5},
        {"beam": 2, "turn_penalty": 0.5},
        {"temperature": 1.0, "turn_penalty": 0.5},
        {"turn_penalty": -0.5},
        {"top_p": 0},
        {"top_k": -1},
        {"beam": 0},
    ],
)
def test_impossible_decodings_are_refused(options):
    with pytest.raises(ValueError):
        Autoregressive.Decoding(**options)
