"""Train systems one after another, as described by a JSON plan.

test_distributed.py runs this file as one of several processes.
"""

import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import torch

from dsacap.common.errors import Preempted, UserError
from dsacap.config.experiment import parse_config
from dsacap.runs.layout import Layout
from dsacap.stages.train import train_system
from dsacap.stages.tune import tune_system
from dsacap.training import distributed, loop


def run(plan: dict) -> None:
    """Train the plan's `systems` of its `config`.

    With `stop`, the last process is sent SIGTERM at that step, so that the training ends there.
    """
    loop._LOG_EVERY, learning_rate = 1, loop.learning_rate
    layout = Layout(parse_config(plan["config"], "plan"))

    def schedule(step, settings):
        if (
            step == plan.get("stop")
            and int(os.environ.get("RANK", 0)) == int(os.environ.get("WORLD_SIZE", 1)) - 1
        ):
            signal.raise_signal(signal.SIGTERM)
        return learning_rate(step, settings)

    loop.learning_rate = schedule
    try:
        for system in plan["systems"]:
            try:
                (tune_system if layout.config.systems[system].tuned_from else train_system)(
                    layout, system, 0
                )
            except (Preempted, UserError) as error:
                (layout.root / f"{system}-{os.environ.get('RANK', 0)}.txt").write_text(str(error))
    finally:
        loop._LOG_EVERY, loop.learning_rate = 20, learning_rate


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.joined("cpu") as accelerator:

        @contextmanager
        def joined_once(device):
            yield accelerator

        distributed.joined = joined_once
        for plan in json.loads(Path(sys.argv[1]).read_text()):
            run(plan)
