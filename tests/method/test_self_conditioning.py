import pytest
import torch

from dsacap.method.dsacap import DSACap
from helpers import SPEC, part_of, random_batch

READOUTS = ("dag", "slots")


def make(readout: str, **model) -> DSACap:
    torch.manual_seed(3)
    return DSACap(
        DSACap.Model(width=16, heads=2, vertices=12, readout=readout, **model), SPEC
    ).eval()


def moved(captioner: DSACap) -> DSACap:
    """Move the weights away from their initial values, with which the caption has no effect."""
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return captioner


@pytest.mark.parametrize("readout", READOUTS)
def test_the_denoiser_sees_the_caption_once_it_has_learned_to(readout):
    captioner, z, t = (
        make(readout, self_conditioning=True),
        random_batch(3).features,
        torch.full((3,), 0.3),
    )
    for start in (True, False):
        z0, hidden = captioner.denoiser(z, t)
        caption = captioner.readout.soft_caption(hidden)
        assert (
            caption.shape == (3, len(captioner.readout.vertices), 16) and not caption.requires_grad
        )
        again, turned = (captioner.denoiser(z, t, x)[0] for x in (caption, caption.flip(1)))
        assert (
            torch.equal(z0, again) == torch.equal(again, turned) == start
        )  # the order of words has an effect too
        moved(captioner)


@pytest.mark.parametrize("readout", READOUTS)
def test_training_shows_the_caption_of_a_first_pass_half_of_the_time(readout, monkeypatch):
    captioner, inputs = make(readout, self_conditioning=True), []
    forward = captioner.denoiser.forward
    monkeypatch.setattr(
        captioner.denoiser,
        "forward",
        lambda z, t, c=None: inputs.append((z, t, c)) or forward(z, t, c),
    )
    torch.manual_seed(0)
    steps, with_caption = 60, 0
    for _ in range(steps):
        inputs.clear()
        captioner.loss(random_batch(1))
        *first, last = inputs
        with_caption += last[2] is not None
        assert len(first) == (last[2] is not None)
        for z, t, caption in first:
            assert z is last[0] and t is last[1] and caption is None
    assert 0.3 < with_caption / steps < 0.7


@pytest.mark.parametrize("readout", READOUTS)
def test_the_gradient_reaches_the_weights_that_read_the_caption(readout, monkeypatch):
    captioner = moved(make(readout, self_conditioning=True))
    monkeypatch.setattr(
        torch,
        "rand",
        lambda *shape, **_: torch.full(shape[0] if isinstance(shape[0], tuple) else shape, 0.4),
    )
    captioner.loss(random_batch(3))["loss"].backward()
    still = {
        n
        for n, p in captioner.named_parameters()
        if p.grad is None or not p.grad.abs().any() or not p.grad.isfinite().all()
    }
    assert {name for name in still if not name.endswith("key_value.bias")} == set()


@pytest.mark.parametrize("noise_level", [0, 0.5])
@pytest.mark.parametrize("readout", READOUTS)
def test_each_step_sees_the_caption_of_the_one_before_whatever_the_batch(readout, noise_level):
    captioner, batch = moved(make(readout, self_conditioning=True)), random_batch(5)
    once, thrice = (DSACap.Decoding(noise_level=noise_level, steps=steps) for steps in (1, 3))
    together = captioner.caption(batch, 2, 7, thrice)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 2, 7, thrice)[0] for i in range(5)
    ]
    assert together != captioner.caption(batch, 2, 7, once)


def test_it_adds_only_the_weights_that_it_needs():
    plain, conditioned = (make("dag", self_conditioning=x).state_dict() for x in (False, True))
    more = conditioned.keys() - plain.keys()
    assert more and all("cross_attention" in name or "caption_norm" in name for name in more)


@pytest.mark.parametrize("readout", ["ctc", "cmlm"])
def test_readouts_without_a_soft_caption_are_refused(readout):
    with pytest.raises(
        ValueError,
        match=f"works only with the readouts dag, slots; {readout} has no soft caption",
    ):
        DSACap.Model(readout=readout, self_conditioning=True)
