"""A process that holds one system and times it when asked: systems share a machine in turn, but neither memory nor caches of a library.

One line of JSON each way. The first line sent says what to hold; a line that comes back is {"answer": ...} or {"error": ...}.
"""

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

from dsacap.common.arithmetic import without_choice
from dsacap.common.errors import UserError, exhausted
from dsacap.config.experiment import Config

_COMMAND = (sys.executable, "-P", "-m", "dsacap.timing.worker_process")
_QUIET = {
    "KINETO_LOG_LEVEL": "99"
}  # torch's profiler, which tells of each start, and calls a machine without a GPU an error


class TimedSystem:
    """One system in a process of its own; use it in a `with`. Waits for nothing until it is asked, so that several start side by side.

    `spec`, fields of an ImageSpec, asks for random weights and captions that fill it; without it the trained weights are timed. `compiled`
    decodes through torch.compile, on a GPU as CUDA graphs; `precision` is fp32, or bf16 by autocast.
    """

    def __init__(
        self,
        config: Config,
        system: str,
        spec: dict[str, int] | None = None,
        compiled: bool = False,
        precision: str = "fp32",
    ):
        self.name = system
        environment = _QUIET | without_choice(os.environ, config.arithmetic)
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        settings = config.model_dump(mode="json", exclude_unset=True)
        self._send(
            {
                "config": settings,
                "system": system,
                "spec": spec,
                "compiled": compiled,
                "precision": precision,
            }
        )

    def __enter__(self) -> "TimedSystem":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):  # closing writes what is left
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def machine(self) -> dict:
        return self._ask({"do": "machine"})

    def cost(self, decoding: str, images: int = 1) -> dict:
        """See decode_cost.py."""
        return self._ask({"do": "cost", "decoding": decoding, "images": images})

    def largest_batch(self, decoding: str, start: int) -> int:
        """See workload.py."""
        return self._ask({"do": "largest", "decoding": decoding, "images": start})

    def seconds(
        self,
        stage: str,
        decoding: str,
        images: int,
        warmup: int,
        iterations: int,
        budget: float = 1e9,
    ) -> list[float]:
        """Of each of `iterations` batches, or of as many as begin within `budget` seconds; see workload.py for the stages."""
        what = {"stage": stage, "decoding": decoding, "images": images}
        return self._ask(
            {"do": "time", **what, "warmup": warmup, "iterations": iterations, "seconds": budget}
        )

    def _ask(self, request: dict) -> Any:
        self._send(request)
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(f"timing {self.name}: {answer['error']}")
        return answer["answer"]

    def _send(self, request: dict) -> None:
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> UserError:
        status = self._process.wait()
        return UserError(
            f"timing {self.name}: its process ended with status {status}; what it said stands above. Run the same command again"
        )


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print as they like
    try:
        subject = _subject(**json.loads(sys.stdin.readline()))
        for line in sys.stdin:
            print(
                json.dumps({"answer": _answer(subject, **json.loads(line))}),
                file=answers,
                flush=True,
            )
    except Exception as error:
        said = str(error) if isinstance(error, UserError) else exhausted(error)
        if said is None:
            raise
        print(json.dumps({"error": said}), file=answers, flush=True)


def _subject(config: dict, system: str, spec: dict | None, compiled: bool, precision: str):
    import torch

    from dsacap.captioner.interface import ImageSpec
    from dsacap.config.experiment import parse_config
    from dsacap.timing.workload import trained, untrained

    settings = parse_config(config, "configuration")
    torch.set_num_threads(settings.threads)
    subject = (
        trained(settings, system)
        if spec is None
        else untrained(settings, system, ImageSpec(**spec))
    )
    subject.precision = precision
    if compiled:
        subject.compile()
    return subject


def _answer(
    subject, do: str, decoding: str = "", images: int = 1, stage: str = "decode", **how
) -> Any:
    from dsacap.common.machine import machine
    from dsacap.timing.clock import repeated
    from dsacap.timing.decode_cost import cost_of

    if do == "machine":
        return machine(subject.device)
    if do == "cost":
        return cost_of(
            subject.captioner, subject.run_of("decode", decoding, images), subject.device
        )
    if do == "largest":
        return subject.largest_batch(decoding, images)
    return repeated(lambda: subject.run_of(stage, decoding, images), subject.device, **how)


if __name__ == "__main__":
    main()
