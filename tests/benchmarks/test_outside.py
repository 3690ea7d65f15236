"""Our autoregressive decoder and transformers' `generate()` on an encoder-decoder of its size.

The baseline of all speed-ups must not be slow by itself. Both decode greedily with cached keys and
values, random weights, and the same number of words. `pytest --benchmark-only`.

`--latency-compiled` adds the compiled pair: ours, and theirs with a static cache.
"""

import pytest

from dsacap.captioner.interface import ImageSpec
from dsacap.config.experiment import load_config
from dsacap.timing.outside import bart_of_size
from dsacap.timing.workload import untrained
from helpers import SCENES_SHAPE

WORDS = 16
SPEC = ImageSpec(**SCENES_SHAPE, max_words=WORDS)


def ours(config, images: int, compiled: bool):
    subject = untrained(config, "ar", SPEC)
    if compiled:
        subject.compile()
    return subject.prepare("decode", "greedy", images), sum(
        p.numel() for p in subject.captioner.parameters()
    )


def transformers(config, images: int, compiled: bool):
    device = untrained(config, "ar", SPEC).device
    return bart_of_size(config.systems["ar"].model, SPEC, images, compiled, device)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("images", [1, 64])
@pytest.mark.parametrize("whose", [ours, transformers])
def test_greedy_decoding(benchmark, whose, images, compiled, request):
    if compiled and not request.config.getoption("--latency-compiled"):
        pytest.skip("compiled: with --latency-compiled")
    how = ", compiled" if compiled else ""
    benchmark.group = f"{WORDS} words by our decoder and by transformers, batch {images}{how}"
    config = load_config(request.config.getoption("--latency-config"))
    run, parameters = whose(config, images, compiled)
    texts = benchmark.pedantic(run, rounds=100, warmup_rounds=10)
    lengths = (
        {len(s) for of_image in texts for s in of_image}
        if whose is ours
        else {len(words) - 1 for words in texts}
    )
    assert lengths == {WORDS}
    benchmark.extra_info.update(
        whose=whose.__name__, images=images, compiled=compiled, words=WORDS, parameters=parameters
    )
