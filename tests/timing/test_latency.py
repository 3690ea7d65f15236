import pytest

from dsacap.timing import latency
from dsacap.timing.latency import time_decodings
from helpers import tiny_config


class FakeSystem:
    """A system without a process, which records the requests."""

    # Shared by all systems on purpose, because the test checks the order over all of them.
    requests: list[tuple] = []  # noqa: RUF012

    def __init__(self, config, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def machine(self):
        return {"device": "abacus", "cores": 2, "threads": 1}

    def cost(self, decoding):
        return {"passes": 3}

    def seconds(self, stage, decoding, images, warmup, iterations):
        self.requests.append((self.name, stage, decoding, images, warmup))
        return [0.001 * images] * iterations


def test_systems_take_turns_and_every_visit_warms_up(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "TimedSystem", FakeSystem)
    monkeypatch.setattr(FakeSystem, "requests", [])
    config = tiny_config(
        tmp_path, timing={"batch_sizes": [1, 4], "warmup": 7, "rounds": 3, "iterations": 2}
    )
    result = time_decodings(config)
    subjects = [
        ("encoder", ""),
        ("ar", "greedy"),
        ("ar", "T=1"),
        ("dsacap", "K=1"),
        ("dsacap-rl", "K=1"),
    ]
    assert {(row["system"], row["decoding"], row["batch_size"]) for row in result["rows"]} == {
        (*s, n) for s in subjects for n in (1, 4)
    }
    one_round = [
        (name, "decode" if decoding else "encode", decoding, n)
        for name, decoding in subjects
        for n in (1, 4)
    ]
    assert [request[:4] for request in FakeSystem.requests] == 3 * one_round
    warmups = [request[4] for request in FakeSystem.requests]
    assert warmups == [7] * len(one_round) + [1] * 2 * len(one_round)
    for row in result["rows"]:
        assert (
            row["iterations"] == 6
            and row["median_ms"] == pytest.approx(row["batch_size"])
            and row["images_per_s"] == pytest.approx(1000)
        )
        assert row.get("passes") == (None if row["system"] == "encoder" else 3)
    assert result["machine"]["device"] == "abacus"
