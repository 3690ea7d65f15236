from types import SimpleNamespace

import pytest
import torch

from dsacap.stages import Inputs, load_configured_encoder
from dsacap.timing import latency
from dsacap.timing.latency import time_decodings


class FakeClock:
    """Each timed call takes one second more than the one before."""

    def __init__(self):
        self.now, self.calls = 0.0, 0

    def __call__(self) -> float:
        self.calls += 1
        if self.calls % 2 == 0:
            self.now += self.calls / 2
        return self.now


def test_summary_of_known_times(monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=clock))
    times = [latency._timed(lambda: None, torch.device("cpu")) for _ in range(11)]
    assert times == pytest.approx([float(i) for i in range(1, 12)])
    summary = latency._summary(times, batch_size=4)
    assert summary["median_ms"] == pytest.approx(6000) and summary["p90_ms"] == pytest.approx(10_000)
    assert summary["images_per_s"] == pytest.approx(4 / 6) and summary["iterations"] == 11


def test_every_decoding_and_the_encoder_are_timed(tiny_layout, monkeypatch):
    monkeypatch.setattr(Inputs, "captioner", lambda self, system, seed: _untrained(self, system))
    result = time_decodings(tiny_layout, Inputs(tiny_layout), load_configured_encoder(tiny_layout))
    timed = {(row["system"], row["decoding"], row["batch_size"]) for row in result["rows"]}
    subjects = [("encoder", ""), ("ar", "greedy"), ("ar", "T=1"), ("dsacap", "K=1"), ("dsacap-rl", "K=1")]
    assert timed == {(*subject, size) for subject in subjects for size in (1, 4)}
    assert all(row["iterations"] == 3 and 0 < row["median_ms"] <= row["p90_ms"] for row in result["rows"])
    assert result["threads"] == 1 and result["device"]


def _untrained(inputs, system):
    from dsacap.registry import load_captioner

    settings = inputs.layout.config.trained(system)
    return load_captioner(settings.captioner, settings.model, inputs.spec).eval()
