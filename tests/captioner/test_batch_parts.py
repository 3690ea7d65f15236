"""A batch in parts gives the losses and the gradient of the whole batch, its random numbers too."""

import copy

import pytest
import torch
from accelerate import Accelerator

from dsacap.captioner.batch_parts import WHOLE
from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.registry import load_captioner
from dsacap.common.errors import UserError
from dsacap.config.training import ExpectedNgrams, Rewards, Training, Tuning
from dsacap.text.vocabulary import SPECIALS, Vocabulary
from dsacap.training.gradients import Gradients, Read
from dsacap.training.ngram_objective import NgramObjective
from dsacap.training.reinforce import Reinforce
from dsacap.training.rewards import Rewarded
from helpers import SPEC, ListMemory, random_batch

SMALL = {"width": 16, "heads": 2}
GRAPH = {**SMALL, "vertices": 9}
SYSTEMS = {
    "autoregressive": {**SMALL, "dropout": 0.2, "feature_dropout": 0.4, "label_smoothing": 0.1},
    "autoregressive, beta": {**SMALL, "dropout": 0.2, "beta": 8.0},
    "masked-diffusion": {**SMALL, "dropout": 0.2, "image_free": 0.3, "concentrated": True},
    "bit-diffusion": {**SMALL, "dropout": 0.2},
    "scd-net": {**SMALL, "dropout": 0.2},
    "parallel": {**SMALL, "dropout": 0.2},
    "prefix-lm": {**SMALL, "layers": 1, "prefix": 2, "mapper": "transformer"},
    "dsacap": {**GRAPH, "dropout": 0.2, "feature_dropout": 0.4},
    "dsacap, self-conditioning": {**GRAPH, "self_conditioning": True},
    "dsacap, glancing": {**GRAPH, "glance": 0.5, "dropout": 0.2},
    "dsacap, ctc": {**GRAPH, "readout": "ctc"},
    "dsacap, slots": {**SMALL, "readout": "slots"},
    "dsacap, cmlm": {**SMALL, "readout": "cmlm", "dropout": 0.2},
}
TUNED = ["autoregressive", "parallel", "scd-net", "dsacap", "dsacap, ctc", "dsacap, slots"]


class CountB:
    def __call__(self, image_ids, captions, guided=None):
        part = torch.tensor(
            [[float(text.count("b")) for text in of_image] for of_image in captions]
        ).numpy()
        return Rewarded(part, 0.3 * part, {"b": part})


def new(name: str) -> Captioner:
    torch.manual_seed(0)
    captioner = load_captioner(name.split(",")[0], SYSTEMS[name], SPEC)
    captioner.learn_from(
        ListMemory([[4, 5, 6, 2], [7, 4, 2, 0], [4, 4, 2, 0], [9, 4, 2, 0], [8, 5, 2, 0]])
    )
    return captioner


def gradients(
    captioner: Captioner, objective, accumulate: int, seed: int, images: int = 7
) -> tuple[dict, dict]:
    """Losses and gradients of a batch of 7 images, in 3 parts of 2, 2 and 3."""
    losses = worked(
        captioner,
        objective,
        Training(steps=1, accumulate=accumulate),
        random_batch(images, seed=seed),
        seed,
    )
    grads = {name: p.grad.clone() for name, p in captioner.named_parameters() if p.grad is not None}
    return {name: value.item() for name, value in losses.items()}, grads


def worked(
    captioner: Captioner, objective, settings: Training, batch: Batch, seed: int = 0
) -> dict[str, torch.Tensor]:
    made = Gradients(
        captioner,
        captioner,
        lambda rows, device: rows,
        objective,
        settings,
        len(batch.image_ids),
        Accelerator(cpu=True),
    )
    return made(
        Read(batch.image_ids, batch.captions, [batch.features[mine] for mine in made.slices]), seed
    )


def assert_same(captioner: Captioner, objective) -> None:
    for seed in range(3):  # some throw a coin
        whole, parts = (gradients(captioner, objective, accumulate, seed) for accumulate in (1, 3))
        assert parts[0] == pytest.approx(whole[0], abs=1e-5)
        # A gradient is a sum over some 1,700 places (images x samples x words x vertices), so it is
        # rounded by about sqrt(1,700) x 2^-24 = 2.5e-6 of the largest one; thrice that is allowed.
        for name, gradient in whole[1].items():
            atol = max(1e-6, 7.5e-6 * float(gradient.abs().max()))
            torch.testing.assert_close(parts[1][name], gradient, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("name", SYSTEMS)
def test_training(name):
    captioner = new(name).train()
    assert_same(captioner, captioner.loss)


@pytest.mark.parametrize(
    "how", [{}, {"noises": "each"}, {"guided": True}, {"supervised": 0.3, "kl": 0.1}], ids=str
)
@pytest.mark.parametrize("name", TUNED)
def test_tuning_by_rewards(name, how):
    captioner = new(name).eval()
    settings = Tuning(steps=1, samples=4, spread="image", rewards=Rewards(cider=1), **how)
    tuned = Reinforce(
        captioner,
        copy.deepcopy(captioner),
        settings,
        CountB(),
        Vocabulary([*SPECIALS, *"abcdefghij"]),
    )
    if name == "autoregressive" and how.get("guided"):
        with pytest.raises(UserError, match="word by word cannot be guided in parts of a batch"):
            assert_same(captioner, tuned)
    else:
        assert_same(captioner, tuned)


def test_tuning_by_expected_ngrams():
    captioner = new("dsacap").eval()
    assert_same(
        captioner,
        NgramObjective(captioner, Tuning(steps=1, ngrams=ExpectedNgrams(beta=5), supervised=0.2)),
    )


@pytest.mark.parametrize(("samples", "replacement"), [(1, False), (1, True), (3, True)])
def test_draws_are_those_of_multinomial(samples, replacement):
    p = torch.rand(50, 9).masked_fill(torch.rand(50, 9) < 0.3, 0) + 1e-3
    torch.manual_seed(5)
    expected = torch.multinomial(p, samples, replacement)
    torch.manual_seed(5)
    assert torch.equal(WHOLE.multinomial(p, samples, replacement), expected)


def test_what_looks_at_the_whole_batch_says_so():
    captioner = new("dsacap").eval()
    settings = Tuning(steps=1, samples=4, rewards=Rewards(cider=1))
    tuned = Reinforce(
        captioner, captioner, settings, CountB(), Vocabulary([*SPECIALS, *"abcdefghij"])
    )
    with pytest.raises(UserError, match=r"statistic of the whole batch at once.*use accumulate: 1"):
        gradients(captioner, tuned, 2, seed=0)
    ladic = load_captioner("ladic", {**SMALL, "latent": 8}, SPEC).train()
    with pytest.raises(UserError, match="use accumulate: 1"):
        gradients(ladic, ladic.loss, 2, seed=0)
    masked = new("masked-diffusion").eval()
    with pytest.raises(
        UserError, match="masked diffusion cannot draw captions in parts of a batch"
    ):
        masked.policy(random_batch(2))
        tuned = Reinforce(
            masked, masked, settings, CountB(), Vocabulary([*SPECIALS, *"abcdefghij"])
        )
        gradients(masked, tuned, 2, seed=0)


def test_what_cannot_be_divided_is_refused():
    dropping = load_captioner(
        "prefix-lm", {**SMALL, "layers": 1, "prefix": 2, "dropout": 0.1}, SPEC
    )
    with pytest.raises(
        UserError, match=r"PrefixLM cannot be trained in 2 parts \(processes 1 x accumulate 2\)"
    ):
        gradients(dropping, dropping.loss, 2, seed=0)
    captioner = new("dsacap")
    with pytest.raises(UserError, match="a batch of 3 images cannot be worked through in 4 parts"):
        gradients(captioner, captioner.loss, 4, seed=0, images=3)


@pytest.mark.parametrize("name", [*SYSTEMS, "ladic"])
def test_bf16_gives_about_the_loss_of_fp32(name):
    captioner = (
        load_captioner("ladic", {**SMALL, "latent": 8, "text_steps": 1}, SPEC)
        if name == "ladic"
        else new(name)
    )
    captioner.eval()
    batch, found = random_batch(7), []
    for precision in ("fp32", "bf16"):
        found.append(
            worked(captioner, captioner.loss, Training(steps=1, precision=precision), batch)[
                "loss"
            ].item()
        )
        assert all(
            torch.isfinite(p.grad).all() for p in captioner.parameters() if p.grad is not None
        )
    assert found[0] != found[1]
    assert found[1] == pytest.approx(found[0], rel=0.02)


@pytest.mark.parametrize("name", [*TUNED, "ngrams"])
def test_tuning_in_bf16(name):
    """The captions drawn may be others than in fp32, so only the kind of numbers is compared."""
    captioner = new("dsacap" if name == "ngrams" else name).eval()
    if name == "ngrams":
        settings = Tuning(steps=1, ngrams=ExpectedNgrams(), precision="bf16")
        tuned = NgramObjective(captioner, settings)
    else:
        settings = Tuning(
            steps=1, samples=4, kl=0.1, rewards=Rewards(cider=1), supervised=0.2, precision="bf16"
        )
        words = Vocabulary([*SPECIALS, *"abcdefghij"])
        tuned = Reinforce(captioner, copy.deepcopy(captioner), settings, CountB(), words)
    losses = worked(captioner, tuned, settings, random_batch(7))
    assert all(torch.isfinite(value).all() for value in losses.values())
    if name != "ngrams":
        assert losses["kl"].item() == pytest.approx(0, abs=1e-3)
    gradients = [p.grad for p in captioner.parameters() if p.grad is not None]
    assert gradients and all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("name", ["autoregressive", "masked-diffusion", "dsacap"])
def test_compiled_blocks_give_the_same_gradient(name, monkeypatch):
    def in_fewer_seconds(self, **how):
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager", **how)

    monkeypatch.setattr(torch.nn.Module, "compile", in_fewer_seconds)
    torch._dynamo.reset()
    plain, compiled = new(name).eval(), new(name).eval()
    batch, losses = random_batch(7), []
    for captioner, settings in (
        (plain, Training(steps=1)),
        (compiled, Training(steps=1, compile=True)),
    ):
        losses.append(worked(captioner, captioner.loss, settings, batch)["loss"].item())
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert (
        all(block._compiled_call_impl for block in compiled.blocks_trained)
        and compiled.blocks_trained
    )


def test_a_system_without_blocks_is_not_compiled():
    captioner = load_captioner("prefix-lm", {**SMALL, "layers": 1, "prefix": 2}, SPEC)
    with pytest.raises(UserError, match="PrefixLM has no blocks of its own to compile"):
        worked(captioner, captioner.loss, Training(steps=1, compile=True), random_batch(7))
