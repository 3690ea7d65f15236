"""Trainings on a pretended GPU, of which each step's waits are counted."""

from contextlib import contextmanager
from types import SimpleNamespace

from pretended import GPU, pretended_gpu

from dsacap.training import distributed, loop
from dsacap.training.loop import Step


@contextmanager
def on_gpu(monkeypatch):
    """Pretend that a process trains on a GPU; yields the waits of each of its steps."""
    alone = SimpleNamespace(
        device=GPU,
        num_processes=1,
        process_index=0,
        is_main_process=True,
        wait_for_everyone=lambda: None,
    )

    @contextmanager
    def joined(device):
        assert device == "cuda"
        yield alone

    of_steps, call = [], Step.__call__
    with monkeypatch.context() as patch, pretended_gpu() as waits:

        def counted(step, number):
            waits.clear()
            losses = call(step, number)
            of_steps.append(dict(waits))
            return losses

        patch.setattr(distributed, "joined", joined)
        patch.setattr(Step, "__call__", counted)
        patch.setattr(loop, "_LOG_EVERY", 4)
        yield of_steps
