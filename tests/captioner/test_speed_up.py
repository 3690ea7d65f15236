"""Compiled decoding gives the same captions as plain decoding.

Each function, with all K diffusion steps in it, is one graph per number of rows.
"""

import pytest
import torch
from torch._dynamo.utils import counters

from dsacap.captioner.interface import Captioner
from dsacap.captioner.registry import load_captioner
from dsacap.common.errors import UserError
from helpers import SPEC, ListMemory, random_batch

SMALL = {"width": 16, "heads": 2}
GRAPH = {**SMALL, "vertices": 9}
# name: (model, decodings, number of functions that are compiled)
RIVALS = {
    "autoregressive": (SMALL, [{}, {"beam": 3}, {"temperature": 1.0}], 1),
    "masked-diffusion": (
        {**SMALL, "image_free": 0.1},
        [{"steps": 3}, {"steps": 3, "guidance": 2.0}, {"temperature": 1.0}],
        1,
    ),
    "bit-diffusion": (SMALL, [{"steps": 3}, {"steps": 3, "asymmetry": 1, "sampler": "ddpm"}], 1),
    "scd-net": (SMALL, [{"steps": 3}], 1),
    "ladic": ({**SMALL, "latent": 8}, [{"stride": 300}, {"stride": 300, "refine": True}], 2),
    "parallel": (SMALL, [{}, {"temperature": 1.0}], 1),
    "prefix-lm": ({**SMALL, "layers": 1, "prefix": 2}, [{}, {"beam": 3}], 1),
    "dsacap": (
        GRAPH,
        [
            {"steps": 2, "search": "viterbi"},
            {"noise_level": 0, "search": "draw", "temperature": 1.0},
        ],
        2,
    ),
    "dsacap, self-conditioning": ({**GRAPH, "self_conditioning": True}, [{"steps": 2}], 2),
    "dsacap, ctc": ({**GRAPH, "readout": "ctc"}, [{}], 2),
    "dsacap, slots": ({**SMALL, "readout": "slots"}, [{}], 2),
    "dsacap, cmlm": ({**SMALL, "readout": "cmlm"}, [{"passes": 2}], 2),
}

# Graphs per function: by default one for each decoding and each of the two numbers of rows. Systems
# that write word by word need one graph for all decodings, except that beams add rows; the image's
# prefix in prefix-lm is longer than a word.
GRAPHS_EACH = {"autoregressive": 4, "prefix-lm": 8}


@pytest.mark.parametrize("name", RIVALS)
def test_compiled_captions_are_the_same(name):
    model, decodings, functions = RIVALS[name]
    torch.manual_seed(0)
    captioner = load_captioner(name.split(",")[0], model, SPEC).eval()
    captioner.learn_from(ListMemory([[4, 5, 6, 2], [7, 4, 2, 0]]))
    with torch.no_grad():
        for parameter in captioner.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    batches, traced = [random_batch(3), random_batch(3, seed=1), random_batch(1)], []
    plain = [
        captioner.caption(batch, 1, 5, captioner.Decoding(**how))
        for how in decodings
        for batch in batches
    ]

    def compiled(function):
        traced.append(function)
        return torch.compile(function, backend="eager", fullgraph=True, dynamic=False)

    torch._dynamo.reset()
    counters.clear()
    captioner.speed_up(compiled)
    assert len(traced) == functions
    assert [
        captioner.caption(batch, 1, 5, captioner.Decoding(**how))
        for how in decodings
        for batch in batches
    ] == plain
    assert (
        counters["stats"]["unique_graphs"] <= GRAPHS_EACH.get(name, 2 * len(decodings)) * functions
    )


def test_a_system_with_nothing_to_compile_says_so():
    class Silent(Captioner):
        def loss(self, batch):
            return {}

        def caption(self, batch, samples, seed, decoding):
            return []

    with pytest.raises(UserError, match="Silent does not support compiled decoding"):
        Silent().speed_up(torch.compile)
