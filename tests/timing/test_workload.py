import pytest
import torch

from dsacap.captioner.interface import ImageSpec
from dsacap.timing.decode_cost import cost_of
from dsacap.timing.workload import untrained
from helpers import tiny_config

SPEC = ImageSpec(tokens=4, channels=6, vocabulary=20, max_words=9)
SMALL = {"width": 16, "heads": 2}
# Captioner -> its model, a decoding, and the passes that it takes: one per word where words are
# decoded one by one, one per step otherwise, and two per step with guidance.
RIVALS = {
    "autoregressive": ({**SMALL, "encoder_layers": 1, "decoder_layers": 1}, {}, 9),
    "masked-diffusion": (
        {**SMALL, "encoder_layers": 1, "decoder_layers": 1, "image_free": 0.1},
        {"steps": 3, "guidance": 2},
        6,
    ),
    "bit-diffusion": (SMALL, {"steps": 4}, 4),
    "scd-net": (SMALL, {"steps": 2}, 4),
    "ladic": ({**SMALL, "latent": 8}, {"stride": 300}, 8),
    "parallel": (SMALL, {}, 1),
    "prefix-lm": ({**SMALL, "layers": 1, "prefix": 2}, {}, 9),
    "dsacap": (
        {**SMALL, "denoiser_layers": 1, "readout_layers": 1},
        {"steps": 2, "noise_level": 0.3},
        2,
    ),
}


@pytest.mark.parametrize("captioner", RIVALS)
def test_a_caption_of_random_weights_has_its_length_and_its_cost_is_counted(tmp_path, captioner):
    model, decoding, passes = RIVALS[captioner]
    rival = {"captioner": captioner, "model": model, "decodings": {"only": decoding}}
    subject = untrained(tiny_config(tmp_path, systems={"rival": rival}), "rival", SPEC)
    # The time of the others does not depend on the length.
    if captioner in ("autoregressive", "masked-diffusion", "prefix-lm"):
        captions = subject.prepare("decode", "only", 3)()
        assert [len(words) for of_image in captions for words in of_image] == [9, 9, 9]
    cost = cost_of(subject.captioner, subject.prepare("decode", "only", 1), subject.device)
    assert cost["passes"] == passes and cost["process_mib"] > 50
    assert cost["parameters"] == sum(p.numel() for p in subject.captioner.parameters())
    shares = [share for _, share in cost["top"]]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0.2 < sum(shares) <= 1
    twice = cost_of(subject.captioner, subject.prepare("decode", "only", 2), subject.device)
    assert twice["passes"] == passes and twice["flops"] == pytest.approx(
        2 * cost["flops"], rel=0.05
    )


def test_the_largest_batch_is_the_last_that_fits(tmp_path, monkeypatch):
    subject = untrained(tiny_config(tmp_path), "ar", SPEC)
    sizes = []

    def prepare(stage, decoding, images):
        def run():
            sizes.append(images)
            if images > 500:
                raise torch.OutOfMemoryError

        return run

    monkeypatch.setattr(subject, "prepare", prepare)
    assert subject.largest_batch("greedy", 64) == 256 and sizes == [128, 256, 512]


@pytest.mark.parametrize("captioner", RIVALS)
def test_bf16_and_compiled_decode_too(tmp_path, monkeypatch, captioner):
    model, decoding, _ = RIVALS[captioner]
    rival = {"captioner": captioner, "model": model, "decodings": {"only": decoding}}
    subject = untrained(tiny_config(tmp_path, systems={"rival": rival}), "rival", SPEC)
    captions = subject.prepare("decode", "only", 2)()
    subject.precision = "bf16"
    assert len(subject.prepare("decode", "only", 2)()) == len(captions) == 2
    options = []
    monkeypatch.setattr(torch, "compile", lambda function, **how: options.append(how) or function)
    subject.compile()
    # On a GPU the mode is reduce-overhead.
    assert options and all(how == {"mode": None, "dynamic": False} for how in options)
