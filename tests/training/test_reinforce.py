import copy

import numpy as np
import pytest
import torch

from dsacap.captioner.batch_parts import WHOLE
from dsacap.captioner.interface import until_eos
from dsacap.captioner.registry import load_captioner
from dsacap.config.training import Rewards, Tuning
from dsacap.text.vocabulary import SPECIALS, UNK, Vocabulary
from dsacap.training.reinforce import Reinforce, _guided, advantages
from dsacap.training.rewards import Rewarded, set_advantages
from helpers import SPEC, random_batch

VOCABULARY = Vocabulary([*SPECIALS, *"abcdefghij"])
CAPTIONERS = {
    "autoregressive": {"width": 16, "heads": 2},
    "masked-diffusion": {"width": 16, "heads": 2},
    "parallel": {"width": 16, "heads": 2},
    "prefix-lm": {"width": 16, "heads": 2, "layers": 1, "prefix": 2},
    "dsacap": {"width": 16, "heads": 2, "vertices": 9},
    "dsacap slots": {"width": 16, "heads": 2, "readout": "slots"},
    "dsacap ctc": {"width": 16, "heads": 2, "readout": "ctc", "vertices": 9},
}


class BeginWithB:
    """A reward of 1 for captions that begin with b."""

    def __call__(self, image_ids, captions, guided=None):
        part = torch.tensor(
            [[float(text.startswith("b")) for text in of_image] for of_image in captions]
        ).numpy()
        return Rewarded(part, 0 * part, {"b": part})


class BeginWithBAndC:
    """A reward of the set: 1/2 if some caption begins with b, and 1/2 if some begins with c."""

    def __call__(self, image_ids, captions, guided=None):
        scores = [
            np.array([[float(text.startswith(letter)) for letter in "bc"] for text in of_image])
            for of_image in captions
        ]
        of_set = np.stack([set_advantages(score_SR) for score_SR in scores])
        parts = {
            letter: np.array([[s[:, at].max()] for s in scores]) for at, letter in enumerate("bc")
        }
        return Rewarded(0 * of_set, of_set, parts)


def objective(name: str, reward=None, **settings) -> Reinforce:
    torch.manual_seed(0)
    captioner = load_captioner(name.split()[0], CAPTIONERS[name], SPEC).eval()
    return Reinforce(
        captioner,
        copy.deepcopy(captioner),
        Tuning(steps=1, rewards=Rewards(cider=1), **settings),
        reward or BeginWithB(),
        VOCABULARY,
    )


@pytest.mark.parametrize("noises", ["one", "each"])
@pytest.mark.parametrize("name", CAPTIONERS)
def test_tuning_finds_what_is_rewarded(name, noises):
    tuned = objective(name, samples=8, noises=noises)
    optimizer = torch.optim.Adam(tuned.captioner.parameters(), 0.01)
    rewards = []
    for step in range(60):
        torch.manual_seed(step)
        losses = tuned(random_batch(8, seed=step))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        rewards.append(losses["reward_b"].item())
    assert rewards[0] < 0.4
    assert sum(rewards[-5:]) / 5 > 0.8


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_rewarded_set_keeps_both_of_two_kinds_of_captions(name):
    tuned = objective(name, BeginWithBAndC(), samples=8)
    optimizer = torch.optim.Adam(tuned.captioner.parameters(), 0.02)
    rewards = []
    for step in range(40):
        torch.manual_seed(step)
        losses = tuned(random_batch(8, seed=step))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        rewards.append([losses["reward_b"].item(), losses["reward_c"].item()])
    assert min(rewards[0]) < 0.8
    assert np.mean(rewards[-20:], axis=0).min() > 0.8  # of eight captions some begin with each


@pytest.mark.parametrize("noises", ["one", "each"])
@pytest.mark.parametrize("name", CAPTIONERS)
def test_nothing_has_moved_before_the_first_step(name, noises):
    """The system and its state before tuning get the same noise; otherwise KL would not be 0."""
    torch.manual_seed(3)
    losses = objective(name, kl=0.5, noises=noises)(random_batch(4))
    assert losses["kl"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", CAPTIONERS)
def test_no_gradient_is_computed_for_the_system_before_tuning(name):
    tuned = objective(name, kl=0.5)
    tuned(random_batch(4))["loss"].backward()
    assert all(parameter.grad is None for parameter in tuned.before.parameters())
    assert any(parameter.grad is not None for parameter in tuned.captioner.parameters())


def test_the_supervised_loss_is_added():
    tuned, plain = objective("autoregressive", supervised=0.5), objective("autoregressive")
    torch.manual_seed(3)
    both = tuned(random_batch(4))["loss"]
    torch.manual_seed(3)
    without = plain(random_batch(4))["loss"]
    assert (both - without).item() == pytest.approx(
        0.5 * tuned.captioner.loss(random_batch(4))["loss"].item(), rel=1e-4
    )


def test_an_advantage_is_over_the_mean_of_the_others():
    got = advantages(torch.tensor([[1.0, 0.0, 0.0], [5.0, 5.0, 5.0]]))
    assert got[1].tolist() == [0, 0, 0]
    torch.testing.assert_close(got[0] / got[0, 0], torch.tensor([1.0, -0.5, -0.5]))
    assert got.square().mean().item() == pytest.approx(1)
    assert advantages(torch.ones(2, 3)).tolist() == [[0, 0, 0]] * 2
    by_image = advantages(
        torch.tensor([[1.0, 0.0, 0.0], [5.0, 9.0, 5.0], [2.0, 2.0, 2.0]]), "image"
    )
    torch.testing.assert_close(by_image.square().mean(1), torch.tensor([1.0, 1.0, 0.0]))


def test_advantages_for_the_set_have_no_other_baseline():
    of_set = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    got = advantages(torch.tensor([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]]), of_set_BS=of_set)
    raw = torch.tensor([[2.0, 0.0, 0.0], [3.0, -1.5, -1.5]])
    torch.testing.assert_close(got, raw / raw.square().mean().sqrt())


def test_a_guide_is_compared_with_the_samples_which_are_not_compared_with_it():
    reward = torch.tensor([[1.0, 3.0, 9.0], [2.0, 2.0, 0.5]])
    got = advantages(reward, guided_B=torch.tensor([True, False]))
    raw = torch.tensor([[1 - 3, 3 - 1, 9 - 2], [2 - 1.25, 2 - 1.25, 0.5 - 2]])
    torch.testing.assert_close(got, raw / raw.square().mean().sqrt())


def test_a_reference_with_an_unknown_word_is_no_guide():
    references = torch.tensor([[[4, UNK, 2], [5, 6, 2]], [[UNK, 4, 2], [UNK, 2, 0]]])
    drawn = torch.full((2, 3, 4), 7)
    for seed in range(5):
        torch.manual_seed(seed)
        captions, guided = _guided(drawn, references, WHOLE)
        assert guided.tolist() == [True, False]
        assert captions[0, -1].tolist() == [5, 6, 2, 0] and (captions[1] == 7).all()
        assert (captions[:, :-1] == 7).all()


@pytest.mark.parametrize("name", CAPTIONERS)
def test_a_guided_sample_is_a_reference(name):
    """A reference is then rewarded even if the system would never draw it."""
    tuned, batch = objective(name, samples=4, guided=True), random_batch(4)
    rewarded = []
    tuned.reward = lambda ids, texts, guided: rewarded.extend(texts) or BeginWithB()(ids, texts)
    tuned(batch)["loss"].backward()
    references = [
        {VOCABULARY.decode(until_eos(words)) for words in of_image}
        for of_image in batch.captions.tolist()
    ]
    pairs = zip(rewarded, references, strict=True)
    assert all(texts[-1] in of_image for texts, of_image in pairs)
    assert all(len(texts) == 4 for texts in rewarded)
