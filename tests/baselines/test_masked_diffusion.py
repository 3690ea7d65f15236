import pytest
import torch
import torch.nn.functional as F

from dsacap.baselines.masked_diffusion import MaskedDiffusion
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import EOS, UNK
from helpers import SPEC, learn_by_heart, part_of, random_batch, words_of


@pytest.fixture
def captioner():
    torch.manual_seed(2)
    return MaskedDiffusion(
        MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1), SPEC
    ).eval()


@pytest.mark.parametrize(
    "options", [{"steps": 1}, {"steps": 3}, {"steps": 20}, {"steps": 3, "temperature": 1.0}]
)
def test_captions_do_not_depend_on_the_batch(captioner, options):
    with torch.no_grad():
        captioner.length_head.weight.mul_(20)  # for different lengths in one batch
    batch, decoding = random_batch(6), MaskedDiffusion.Decoding(**options)
    together = captioner.caption(batch, 2, 7, decoding)
    assert len({len(captions[0]) for captions in together}) > 1
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, decoding)[0] for i in range(6)
    ]
    assert all(
        UNK < word < SPEC.vocabulary for image in together for caption in image for word in caption
    )


def test_steps_fix_the_most_confident_words_and_keep_them(captioner, monkeypatch):
    """After step i of K at least i/K of the words are fixed, and these do not change again."""
    inputs, forward = [], captioner.hidden
    monkeypatch.setattr(
        captioner,
        "hidden",
        lambda words, *rest: inputs.append(words.clone()) or forward(words, *rest),
    )
    caption = captioner.caption(random_batch(1), 1, 0, MaskedDiffusion.Decoding(steps=3))[0][0]
    for i, words in enumerate(inputs):
        fixed = words[0] != captioner.mask
        assert fixed.sum() >= i / 3 * len(caption)
        assert (words[0][fixed] == torch.tensor(caption)[fixed]).all()


def ddcap(**model) -> MaskedDiffusion:
    torch.manual_seed(2)
    return MaskedDiffusion(
        MaskedDiffusion.Model(width=16, heads=2, encoder_layers=1, decoder_layers=1, **model), SPEC
    ).eval()


def test_a_masked_position_is_attended_to_by_itself_alone():
    captioner, batch = ddcap(concentrated=True), random_batch(1)
    images = captioner.image_keys_values(captioner.image_encoder(batch.features))
    words, real = (
        torch.tensor([[5, captioner.mask, 6, captioner.mask]]),
        torch.ones(1, 4, dtype=torch.bool),
    )
    with torch.no_grad():
        before = captioner.hidden(words, real, images)
        captioner.position[1] += 10.0  # masked: only position 1 itself may change
        changed = (captioner.hidden(words, real, images) - before).abs().amax(-1)[0] > 1e-6
        assert changed.tolist() == [False, True, False, False]
        captioner.position[0] += 10.0  # a word: all positions change
        assert ((captioner.hidden(words, real, images) - before).abs().amax(-1)[0] > 1e-6).all()


def test_guidance_moves_away_from_the_blank_and_at_1_changes_nothing():
    captioner, batch = ddcap(image_free=0.5), random_batch(6)
    with torch.no_grad():
        captioner.head.weight.mul_(20)
    plain, strong, none = (
        captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=g))
        for g in (1.0, 8.0, 0.0)
    )
    assert plain != strong
    # Without the image, all captions of one length are the same.
    same_length = [image[0] for image in none if len(image[0]) == len(none[0][0])]
    assert all(caption == same_length[0] for caption in same_length)
    together = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))
    assert together[2:3] == captioner.caption(
        part_of(batch, slice(2, 3)), 1, 0, MaskedDiffusion.Decoding(guidance=2.0)
    )
    with pytest.raises(ValueError, match="image_free"):
        ddcap().caption(batch, 1, 0, MaskedDiffusion.Decoding(guidance=2.0))


def sure_of(captioner: MaskedDiffusion, place: int, word: int) -> None:
    """Let the captioner write `word` at `place` and nowhere else, whatever the image."""
    with torch.no_grad():
        direction = F.layer_norm(torch.randn(16, generator=torch.manual_seed(place)), (16,))
        captioner.head.weight[word], captioner.head.bias[word] = 8 * direction, -100
        captioner.position[place] += 30 * direction


def test_a_caption_ends_at_the_word_for_the_end():
    """The length may be too large; as a word of its own, the end is then predicted before it."""
    captioner = ddcap(end="word")
    with torch.no_grad():
        captioner.length_head.bias[6] += 60  # six words and the end
    sure_of(captioner, 3, EOS)
    captions = captioner.caption(random_batch(4), 1, 0, MaskedDiffusion.Decoding())
    assert {len(image[0]) for image in captions} == {3}


def test_the_end_is_never_first_and_no_caption_is_too_long():
    captioner = ddcap(end="word")
    with torch.no_grad():
        captioner.head.bias[EOS] += 60
        captioner.length_head.bias[SPEC.max_words] += 60
        decoding = MaskedDiffusion.Decoding()
        assert {len(i[0]) for i in captioner.caption(random_batch(4), 1, 0, decoding)} == {1}
        captioner.head.bias[EOS] -= 200
    longest = {len(i[0]) for i in captioner.caption(random_batch(4), 1, 0, decoding)}
    assert longest == {SPEC.max_words}
    captioner.endless = True
    captions = captioner.caption(random_batch(4), 1, 0, decoding)
    assert {len(i[0]) for i in captions} == {SPEC.max_words}


def test_the_end_is_trained_as_a_word_and_counted_in_the_length(monkeypatch):
    captioner, batch = ddcap(end="word"), random_batch(3)
    seen, forward = [], captioner.hidden
    monkeypatch.setattr(
        captioner, "hidden", lambda words, real, *x: seen.append(real) or forward(words, real, *x)
    )
    captioner.loss(batch)
    words = (batch.captions >= EOS).sum(-1).flatten()
    assert sorted(n for real in seen for n in real.sum(-1).tolist()) == sorted(words.tolist())
    captioner.zero_grad()
    torch.manual_seed(0)
    captioner.loss(batch)["loss"].backward()
    assert captioner.head.bias.grad[EOS] < 0  # it should be likelier
    with pytest.raises(UserError, match="take end: length"):
        captioner.policy(batch)


@pytest.mark.parametrize("end", ["length", "word"])
def test_of_several_lengths_the_one_with_the_likeliest_words_is_kept(end):
    captioner, batch = ddcap(end=end), random_batch(5)
    with torch.no_grad():
        captioner.head.weight.mul_(20)
        captioner.length_head.bias[[2, 4, 6]] += torch.tensor([62.0, 61.0, 60.0])
    one, three = (
        captioner.caption(batch, 2, 0, MaskedDiffusion.Decoding(lengths=n)) for n in (1, 3)
    )
    assert one != three
    assert three == [
        captioner.caption(
            part_of(batch, slice(i, i + 1)), 2, 0, MaskedDiffusion.Decoding(lengths=3)
        )[0]
        for i in range(5)
    ]
    # Of the captions of each length, as they are alone, with their mean log-probabilities.
    best = []
    for i in range(5):
        candidates, image = [], part_of(batch, slice(i, i + 1))
        for length in (2, 4, 6):
            with torch.no_grad():
                captioner.length_head.bias[length] += 100
            scores, unmasked = [], captioner._unmasked
            captioner._unmasked = lambda *x, f=unmasked, s=scores: s.append(f(*x)) or s[-1]
            caption = captioner.caption(image, 1, 0, MaskedDiffusion.Decoding())[0][0]
            del captioner._unmasked
            used = len(caption) + (EOS in scores[0][0][0])
            candidates.append((scores[0][1][0, :used].mean().item(), caption))
            with torch.no_grad():
                captioner.length_head.bias[length] -= 100
        best.append(max(candidates)[1])
    assert [image[0] for image in three] == best


def test_lengths_and_a_temperature_exclude_each_other():
    with pytest.raises(ValueError, match="exclude"):
        MaskedDiffusion.Decoding(lengths=3, temperature=1.0)
    with pytest.raises(ValueError, match="end: length or word"):
        MaskedDiffusion.Model(end="dot")


@pytest.mark.parametrize("end", ["length", "word"])
def test_it_learns_length_and_words(end):
    captioner, batch = ddcap(end=end), random_batch(2, references=1)
    learn_by_heart(captioner, batch, steps=150, learning_rate=1e-2)
    captions = captioner.caption(batch, 1, 0, MaskedDiffusion.Decoding(steps=4))
    assert [image[0] for image in captions] == words_of(batch)
