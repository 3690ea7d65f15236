"""Every captioner on a pretended GPU gives the CPU's losses and captions, and rarely waits."""

import copy
from dataclasses import replace

import pytest
import torch
from pretended import pretended_gpu

from dsacap.captioner.batch_parts import Part
from dsacap.captioner.choice import Choice, ChosenDecoding
from dsacap.captioner.interface import Batch, Captioner
from dsacap.captioner.random_numbers import noise_of
from dsacap.captioner.registry import CAPTIONERS, load_captioner
from dsacap.decoding.caption_batch import caption_batch
from helpers import SPEC, ListMemory, random_batch

SMALL = {"width": 16, "heads": 2}
GRAPH = {**SMALL, "vertices": 9}
WORDS = SPEC.max_words
EACH_WORD = WORDS + 1  # whether all captions have ended, then the captions
DRAWN = {"search": "draw", "temperature": 1.0}
PERTURBED = {"search": "perturb", "temperature": 1.0, "bigram_weight": 0.5}
# name: (model, waits for the GPU of a training step, [(decoding, waits)])
SYSTEMS = {
    "autoregressive": (
        {**SMALL, "dropout": 0.2, "label_smoothing": 0.1},
        0,
        [
            ({}, EACH_WORD),
            ({"beam": 3}, EACH_WORD),
            ({"temperature": 1.0, "top_p": 0.9}, EACH_WORD),
        ],
    ),
    "autoregressive, beta": ({**SMALL, "beta": 8.0}, 0, []),
    "masked-diffusion": (
        {**SMALL, "image_free": 0.1, "concentrated": True},
        0,
        # The longest length, whether words are left after each step, the captions.
        [
            ({"steps": 3}, 5),
            ({"steps": 3, "guidance": 2.0}, 5),
            ({"steps": 2, "temperature": 1.0}, 4),
        ],
    ),
    "masked-diffusion, word": ({**SMALL, "end": "word"}, 0, [({"steps": 3, "lengths": 3}, 5)]),
    "bit-diffusion": (SMALL, 0, [({"steps": 3, "asymmetry": 1, "sampler": "ddpm"}, 1)]),
    "scd-net": (SMALL, 0, [({"steps": 3}, 1)]),
    # The number of the step, until the text encoder is frozen, and the table of the noise, once.
    "ladic": (
        {**SMALL, "latent": 8, "text_steps": 1},
        2,
        [({"stride": 300}, 3), ({"stride": 300, "refine": True}, 3)],
    ),
    "parallel": (SMALL, 0, [({}, 1), ({"temperature": 1.0}, 1)]),
    # transformers makes tensors of numbers in each pass, and looks at them several times a word.
    "prefix-lm": (
        {**SMALL, "layers": 1, "prefix": 2},
        2,
        [({}, 5 * WORDS), ({"beam": 3}, 6 * WORDS)],
    ),
    "dsacap": (
        GRAPH,
        0,
        [
            ({}, 1),
            # The words that occur, how long the captions are, and the captions.
            ({"steps": 2, "search": "viterbi", "bigram_weight": 0.5}, 3),
            ({"noise_level": 0, **DRAWN}, 1),
            ({"noise_level": 0, **PERTURBED}, 3),
        ],
    ),
    "dsacap, self-conditioning": ({**GRAPH, "self_conditioning": True}, 0, [({"steps": 2}, 1)]),
    "dsacap, shifted noise": ({**GRAPH, "noise_per_token": True, "noise_shift": 2.0}, 0, []),
    "dsacap, glancing": ({**GRAPH, "glance": 0.5}, 0, []),
    "dsacap, ctc": ({**GRAPH, "readout": "ctc"}, 0, [({}, 1), (DRAWN, 1)]),
    "dsacap, slots": ({**SMALL, "readout": "slots"}, 0, [({}, 1), (DRAWN, 1)]),
    "dsacap, cmlm": ({**SMALL, "readout": "cmlm"}, 0, [({"passes": 2}, 3)]),
}
# Waits of one draw of two captions each and of its probability with gradient.
POLICIES = {
    "autoregressive": WORDS + 5,  # whether all have ended; masks as indices in the probability
    "masked-diffusion": 8,
    "parallel": 0,
    "scd-net": 0,
    "prefix-lm": 6 * WORDS,
    "dsacap": 0,
    "dsacap, ctc": 0,
    "dsacap, slots": 0,
}
DECODINGS = [(name, *each) for name, (_, _, decodings) in SYSTEMS.items() for each in decodings]


def new(name: str) -> Captioner:
    torch.manual_seed(0)
    captioner = load_captioner(name.split(",")[0], SYSTEMS[name][0], SPEC)
    captioner.learn_from(ListMemory([[word, 5, 6, 2, 0] for word in range(4, 10)]))
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return captioner


def on_gpu(batch: Batch) -> Batch:
    """Return the batch on the GPU, its captions in the CPU's memory too, as the loop has them."""
    return Batch(
        batch.image_ids,
        batch.features.to("cuda"),
        batch.captions.to("cuda"),
        part=Part(batch.captions),
    )


def test_all_captioners_are_tried():
    assert {name.split(",")[0] for name in SYSTEMS} == set(CAPTIONERS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_training_step(name):
    here, batch, most = new(name).train(), random_batch(5), SYSTEMS[name][1]
    losses, gradients = [], []
    with pretended_gpu() as waits:
        there = copy.deepcopy(here).to("cuda")
        for captioner, of in ((here, batch), (there, on_gpu(batch))):
            for seed in range(4):  # some throw a coin, and LaDiC begins with its text encoder
                torch.manual_seed(seed)
                waits.clear()
                captioner.zero_grad()
                loss = captioner.loss(of)["loss"]
                loss.backward()
                assert sum(waits.values()) <= most, waits
            losses.append(loss.item())
            gradients.append([p.grad.cpu() for p in captioner.parameters() if p.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy(name):
    here, batch = new(name).eval(), random_batch(5)
    with pretended_gpu() as waits:
        captioner = copy.deepcopy(here).to("cuda")
        of = on_gpu(batch)
        waits.clear()
        torch.manual_seed(3)
        policy = captioner.policy(of)
        drawn = policy.sample(2)
        log_p = policy.log_prob(drawn)
        log_p.sum().backward()
        assert sum(waits.values()) <= POLICIES[name], waits
        torch.manual_seed(3)  # for the same noise on the image
        expected = here.policy(batch).log_prob(drawn.cpu())
        torch.testing.assert_close(log_p.cpu(), expected, rtol=1e-3, atol=1e-3)
        if name == "dsacap":
            policy = captioner.policy(of)
            waits.clear()
            policy.expected_overlap(of.captions, 3, 0.5).sum().backward()
            assert not waits


@pytest.mark.parametrize(("name", "how", "most"), DECODINGS)
def test_a_decoding(name, how, most):
    here, batch = new(name).eval(), random_batch(4)
    decoding = here.Decoding(**how)
    with pretended_gpu() as waits:
        there = copy.deepcopy(here).to("cuda")
        of = Batch(batch.image_ids, batch.features.to("cuda"))
        there.caption(of, 1, 5, decoding)  # the first time moves tables to the GPU
        waits.clear()
        captions = there.caption(of, 2, 5, decoding)
        assert 1 <= sum(waits.values()) <= most, waits
    assert captions == here.caption(batch, 2, 5, decoding)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("shape", [(2, 3), (100, 128)])  # few numbers, and as many as of an image
def test_all_cores_draw_what_one_does(kind, shape):
    batch = random_batch(4)
    alone = noise_of(batch, 2, 5, shape, kind)
    with pretended_gpu():
        of = Batch(batch.image_ids, batch.features.to("cuda"))
        beside_gpu = noise_of(of, 2, 5, shape, kind)
        assert beside_gpu.device.type == "cuda"
        assert torch.equal(beside_gpu.cpu(), alone)


@pytest.mark.parametrize("name", ["autoregressive", "dsacap"])
def test_captions_are_continued_chosen_and_inspected(name):
    here, batch = new(name).eval(), random_batch(4)
    drawn = {"temperature": 1.0} if name == "autoregressive" else DRAWN
    with pretended_gpu():
        there, found = copy.deepcopy(here).to("cuda"), []
        for captioner, device in ((here, "cpu"), (there, "cuda")):
            of = Batch(batch.image_ids, batch.features.to(device))
            prefix = batch.captions[:, 0, :1].clamp_min(4).to(device)
            found.append(
                [
                    captioner.caption(replace(of, prefix=prefix), 1, 0, captioner.Decoding()),
                    *(
                        caption_batch(
                            captioner,
                            of,
                            1,
                            0,
                            ChosenDecoding(captioner.Decoding(**drawn), Choice(choose, of=3)),
                        )
                        for choose in ("consensus", "rerank")
                    ),
                    [inside.caption for inside in captioner.inspect(of, 0, captioner.Decoding(), 2)]
                    if captioner.inspects
                    else None,
                ]
            )
    assert found[0] == found[1]
