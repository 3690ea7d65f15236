"""Trainings on a pretended GPU, of which each step's waits are counted."""

from contextlib import contextmanager
from types import SimpleNamespace

from pretended import GPU, pretended_gpu

from dsacap.training import distributed, loop
from dsacap.training.loop import Step


@contextmanager
def on_gpu(monkeypatch):
    """Pretend that a process trains on a GPU; yields the waits of each step and the loop around it.

    What the loop does after a step that is logged, or at which it saves, is not among them.
    """
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

    of_steps, call, check = [], Step.__call__, Step.check
    with monkeypatch.context() as patch, pretended_gpu() as waits:
        logged = True  # whether the last step was: then the loop reads the GPU

        def counted(step, number):
            nonlocal logged
            if not logged:
                of_steps[-1] = dict(waits)  # with those of the loop around the step
            waits.clear()
            losses = call(step, number)
            of_steps.append(dict(waits))
            logged = False
            return losses

        def checked(step):
            nonlocal logged
            if not logged:
                of_steps[-1] = dict(waits)
            logged = True
            check(step)

        patch.setattr(distributed, "joined", joined)
        patch.setattr(Step, "__call__", counted)
        patch.setattr(Step, "check", checked)
        patch.setattr(loop, "_LOG_EVERY", 4)
        yield of_steps
