"""Properties of every readout."""

import pytest
import torch

from dsacap.common.errors import UserError
from dsacap.method.dsacap import READOUTS, DSACap
from dsacap.text.vocabulary import UNK
from helpers import SPEC, part_of, random_batch

CLEAN = {"noise_level": 0}
DRAWN = {**CLEAN, "search": "draw", "temperature": 0.8}
DECODINGS = [
    ("dag", DRAWN),
    ("slots", {"noise_level": 0.5, "steps": 2}),
    ("slots", DRAWN),
    ("ctc", {"noise_level": 0.5}),
    ("ctc", DRAWN),
    ("cmlm", CLEAN),
    ("cmlm", {"noise_level": 0.5, "passes": 3}),
]


def make(readout: str, **model) -> DSACap:
    torch.manual_seed(3)
    captioner = DSACap(
        DSACap.Model(width=16, heads=2, vertices=12, readout=readout, **model), SPEC
    ).eval()
    with torch.no_grad():
        for parameter in captioner.parameters():  # gates are no longer zero, and choices are clear
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return captioner


@pytest.mark.parametrize(("readout", "options"), DECODINGS)
def test_captions_do_not_depend_on_the_batch_nor_on_how_many_are_drawn(readout, options):
    captioner, batch, decoding = make(readout), random_batch(5), DSACap.Decoding(**options)
    together = captioner.caption(batch, 3, 7, decoding)
    assert together == [
        captioner.caption(part_of(batch, slice(i, i + 1)), 3, 7, decoding)[0] for i in range(5)
    ]
    assert [captions[:2] for captions in together] == captioner.caption(batch, 2, 7, decoding)
    assert all(
        0 < len(caption) <= SPEC.max_words and min(caption) > UNK
        for captions in together
        for caption in captions
    )


@pytest.mark.parametrize(("readout", "options"), [(r, o) for r, o in DECODINGS if o is DRAWN])
def test_a_temperature_makes_captions_differ(readout, options):
    captioner, batch = make(readout), random_batch(4)
    cold, warm = (
        captioner.caption(batch, 8, 0, DSACap.Decoding(**{**options, "temperature": t}))
        for t in (1e-6, 1.0)
    )
    assert all(len({tuple(c) for c in captions}) == 1 for captions in cold)
    assert all(len({tuple(c) for c in captions}) > 1 for captions in warm)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("beta", [0, 8])
def test_the_gradient_reaches_every_weight(readout, beta):
    captioner = make(readout, beta=beta).train()
    captioner.loss(random_batch(3))["loss"].backward()
    still = {
        n
        for n, p in captioner.named_parameters()
        if p.grad is None or not p.grad.abs().any() or not p.grad.isfinite().all()
    }
    assert {name for name in still if not name.endswith("key_value.bias")} == set()


@pytest.mark.parametrize("readout", READOUTS)
def test_one_reference_makes_beta_irrelevant(readout):
    batch, losses = random_batch(4, references=1), []
    for beta in (0, 8):
        captioner = make(readout, beta=beta)
        torch.manual_seed(0)
        losses.append(captioner.loss(batch)["loss"].item())
    assert losses[0] == pytest.approx(losses[1])


# The same test of the dag is in test_dsacap.py.
@pytest.mark.parametrize("readout", [name for name in READOUTS if name != "dag"])
def test_it_learns_a_tiny_batch_by_heart(readout):
    captioner, batch = make(readout), random_batch(2, references=1, seed=1)
    optimizer = torch.optim.Adam(captioner.parameters(), lr=1e-2)
    torch.manual_seed(0)
    for _ in range(100 if readout == "cmlm" else 60):
        optimizer.zero_grad()
        captioner.loss(batch)["loss"].backward()
        optimizer.step()
    captions = captioner.caption(batch, 1, 0, DSACap.Decoding(**CLEAN))
    assert [of_image[0] for of_image in captions] == [
        [w for w in image[0] if w > UNK] for image in batch.captions.tolist()
    ]


@pytest.mark.parametrize(
    ("readout", "options", "message"),
    [
        (
            "slots",
            {"search": "lookahead"},
            "search: lookahead is not available for readout: slots; available: draw",
        ),
        ("slots", {"search": "viterbi", "bigram_weight": 0.5}, "search: viterbi is not"),
        (
            "ctc",
            {"search": "lookahead"},
            "search: lookahead is not available for readout: ctc; available: draw",
        ),
        ("cmlm", DRAWN, "search: draw is not available for readout: cmlm; available: none"),
        ("dag", {"passes": 2}, "passes is not an option of readout: dag"),
        ("slots", {"candidates": 5}, "candidates is not an option of readout: slots"),
    ],
)
def test_a_decoding_that_a_readout_does_not_support_is_refused(readout, options, message):
    with pytest.raises(ValueError, match=message):
        make(readout).caption(random_batch(1), 1, 0, DSACap.Decoding(**options))


def test_passes_are_one_to_four():
    for passes in (0, 5):
        with pytest.raises(ValueError, match="needs passes of 1 to 4"):
            DSACap.Decoding(passes=passes)


def test_a_readout_without_probabilities_cannot_be_tuned():
    with pytest.raises(UserError, match="readout CMLM does not compute the probability"):
        make("cmlm").policy(random_batch(1))


def test_an_unknown_readout_is_refused():
    with pytest.raises(ValueError, match="readout: 'tree' is not one of dag, slots, ctc, cmlm"):
        DSACap.Model(readout="tree")
