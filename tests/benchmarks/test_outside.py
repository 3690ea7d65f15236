"""Our autoregressive decoder and transformers' `generate()` on an encoder-decoder of its size.

The baseline of all speed-ups must not be slow by itself. Both decode greedily with cached keys and
values, random weights, and the same number of words. `pytest --benchmark-only`.

`--latency-compiled` adds the compiled pair: ours, and theirs with a static cache.
"""

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from dsacap.captioner.interface import ImageSpec
from dsacap.config.experiment import load_config
from dsacap.text.vocabulary import BOS, EOS, PAD
from dsacap.timing.workload import untrained
from helpers import SCENES_SHAPE

WORDS = 16


def ours(config, images: int, compiled: bool):
    subject = untrained(config, "ar", ImageSpec(**SCENES_SHAPE, max_words=WORDS))
    if compiled:
        subject.compile()
    return subject.run_of("decode", "greedy", images), sum(
        p.numel() for p in subject.captioner.parameters()
    )


def transformers(config, images: int, compiled: bool):
    """BART with our numbers of layers and our width, on linearly projected image tokens."""
    model = config.systems["ar"].model
    width, layers, heads = model["width"], model.get("decoder_layers", 3), model.get("heads", 4)
    sizes = {
        "d_model": width,
        "decoder_layers": layers,
        "decoder_attention_heads": heads,
        "decoder_ffn_dim": 4 * width,
    }
    sizes |= {
        "encoder_layers": model.get("encoder_layers", 2),
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
    }
    ids = {
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,
    }
    torch.manual_seed(0)
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=SCENES_SHAPE["vocabulary"], max_position_embeddings=WORDS + 2, **sizes, **ids
        )
    )
    bart = bart.eval().requires_grad_(False)
    project = torch.nn.Linear(SCENES_SHAPE["channels"], width).requires_grad_(False)
    how = {"max_new_tokens": WORDS, "min_new_tokens": WORDS, "do_sample": False, "num_beams": 1}
    if compiled:
        bart.forward = torch.compile(bart.forward, dynamic=False)
        how["cache_implementation"] = "static"
    features_BNC = torch.randn(images, SCENES_SHAPE["tokens"], SCENES_SHAPE["channels"])

    @torch.inference_mode()
    def generate() -> list[list[int]]:
        memory = bart.model.encoder(inputs_embeds=project(features_BNC))
        return bart.generate(
            encoder_outputs=BaseModelOutput(memory.last_hidden_state), **how
        ).tolist()

    return generate, sum(p.numel() for p in (*bart.parameters(), *project.parameters()))


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
