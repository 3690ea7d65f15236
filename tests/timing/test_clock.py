"""The timer: with a scripted clock, a model that sleeps a known time, and an asynchronous GPU."""

import time
from types import SimpleNamespace

import pytest
import torch

from dsacap.timing import clock

CPU = torch.device("cpu")


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
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=FakeClock()))
    times = clock.repeated(lambda: lambda: None, CPU, warmup=0, iterations=11)
    assert times == pytest.approx([float(i) for i in range(1, 12)])
    summary = clock.summary(times, images=4)
    assert summary["median_ms"] == pytest.approx(6000) and summary["p90_ms"] == pytest.approx(
        10_000
    )
    assert summary["p99_ms"] == pytest.approx(10_900) and summary["images_per_s"] == pytest.approx(
        4 / 6
    )
    assert summary["iterations"] == 11 and summary["ms"][0] == 1000


def test_warm_up_is_not_measured_and_the_budget_ends_the_calls(monkeypatch):
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=FakeClock()))
    assert clock.repeated(lambda: lambda: None, CPU, warmup=3, iterations=100, seconds=9) == [
        4.0,
        5.0,
    ]
    assert len(clock.repeated(lambda: lambda: None, CPU, warmup=0, iterations=100, seconds=0)) == 1
    assert clock.summary([0.5], images=1)["p99_ms"] == 500


def test_a_model_that_sleeps_a_known_time():
    """The preparation of a call is not measured, and measuring adds little."""

    def prepare():
        time.sleep(0.2)
        return lambda: time.sleep(0.005)

    # On a busy machine a sleep takes longer than asked for, so the shortest call counts.
    assert 0.005 <= min(clock.repeated(prepare, CPU, warmup=1, iterations=5)) < 0.2


class FakeGPU:
    """One stream: queued work takes 0.25 s a piece, and events are stamped in their turn."""

    def __init__(self):
        self.queued, self.now = [], 0.0

    def work(self):
        self.queued.append(lambda: setattr(self, "now", self.now + 0.25))

    def synchronize(self, device=None):
        while self.queued:
            self.queued.pop(0)()

    def event(self, enable_timing):
        assert enable_timing
        gpu, stamps = self, []
        event = SimpleNamespace(
            stamps=stamps, record=lambda: gpu.queued.append(lambda: stamps.append(gpu.now))
        )
        # Fails, as CUDA's does, until the stream has reached both events.
        event.elapsed_time = lambda other: 1000 * (other.stamps[0] - stamps[0])
        return event


@pytest.fixture
def gpu(monkeypatch) -> FakeGPU:
    gpu = FakeGPU()
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(torch.cuda, "synchronize", gpu.synchronize)
    return gpu


def test_a_gpu_is_timed_by_the_work_done_not_by_its_launch(gpu):
    gpu.work()  # queued before, so it must not be measured
    assert clock.timed(
        lambda: [gpu.work() for _ in range(3)], torch.device("cuda")
    ) == pytest.approx(0.75)


def test_a_missing_synchronisation_is_noticed(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    with pytest.raises(IndexError):
        clock.timed(gpu.work, torch.device("cuda"))
