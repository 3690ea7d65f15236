"""A process that holds one system and times it on request.

Systems use the machine in turn, and share neither memory nor the caches of libraries. Requests and
replies are one line of JSON each. The first request names the system; a reply is {"answer": ...} or
{"error": ...}.
"""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from dsacap.common.arithmetic import without_choice
from dsacap.common.child_process import ChildEnded, ChildProcess
from dsacap.common.errors import UserError, exhausted
from dsacap.config.experiment import Config

if TYPE_CHECKING:
    from dsacap.timing.workload import Subject

_COMMAND = (sys.executable, "-P", "-m", "dsacap.timing.worker_process")
# torch's profiler reports every start, and logs an error on a machine without a GPU.
_QUIET = {"KINETO_LOG_LEVEL": "99"}


class TimedSystem:
    """One system in a process of its own, as a context manager.

    It does not wait for the process before the first request, so that several can start at once.

    Attributes:
        name: The name of the system.
    """

    def __init__(
        self,
        config: Config,
        system: str,
        spec: dict[str, int] | None = None,
        compiled: bool = False,
        precision: str = "fp32",
    ):
        """Start the process.

        Args:
            config: The configuration.
            system: The name of a system, or ENCODER for the encoder that all systems share.
            spec: Fields of an ImageSpec, for random weights and captions of full length; None for
                the trained weights.
            compiled: Decode through torch.compile, on a GPU with CUDA graphs.
            precision: `fp32`, or `bf16` by autocast.
        """
        self.name = system
        environment = _QUIET | without_choice(os.environ, config.arithmetic)
        self._child = ChildProcess(_COMMAND, environment)
        settings = config.model_dump(mode="json", exclude_unset=True)
        self._child.send(
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
        self._child.close()

    def machine(self) -> dict:
        """Return the description of the machine by the process."""
        return self._ask({"do": "machine"})

    def cost(self, decoding: str, images: int = 1) -> dict:
        """Return the cost of decoding a batch of `images`; see `decode_cost.cost_of`."""
        return self._ask({"do": "cost", "decoding": decoding, "images": images})

    def largest_batch(self, decoding: str, start: int) -> int:
        """Return how many images fit the GPU's memory; see `workload.Subject.largest_batch`."""
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
        """Time batches.

        Args:
            stage: What is timed: a stage of workload.py.
            decoding: The name of the decoding; ignored by the stage `encode`.
            images: Images per batch.
            warmup: Batches before the first that is timed.
            iterations: Batches to time.
            budget: No batch begins once the timed ones have taken this many seconds.

        Returns:
            Seconds of each batch.

        Raises:
            UserError: The process failed or was killed.
        """
        work = {"stage": stage, "decoding": decoding, "images": images}
        return self._ask(
            {"do": "time", **work, "warmup": warmup, "iterations": iterations, "seconds": budget}
        )

    def _ask(self, request: dict) -> Any:
        try:
            answer = self._child.ask(request)
        except ChildEnded:
            raise UserError(
                f"timing {self.name}: its process exited with status"
                f" {self._child.process.returncode}; see its output above, then run the same"
                " command again"
            ) from None
        if "error" in answer:
            raise UserError(f"timing {self.name}: {answer['error']}")
        return answer["answer"]


def main() -> None:
    """Answer requests on standard input until it is closed."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the replies
    try:
        subject = _subject(**json.loads(sys.stdin.readline()))
        for line in sys.stdin:
            print(
                json.dumps({"answer": _answer(subject, **json.loads(line))}),
                file=replies,
                flush=True,
            )
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else exhausted(error)
        if message is None:
            raise
        print(json.dumps({"error": message}), file=replies, flush=True)


def _subject(
    config: dict, system: str, spec: dict | None, compiled: bool, precision: str
) -> "Subject":
    import torch

    from dsacap.captioner.interface import ImageSpec
    from dsacap.config.experiment import parse_config
    from dsacap.timing.workload import untrained

    settings = parse_config(config, "configuration")
    torch.set_num_threads(settings.threads)
    if spec is None:
        from dsacap.timing.photos import trained

        subject = trained(settings, system)
    else:
        subject = untrained(settings, system, ImageSpec(**spec))
    subject.precision = precision
    if compiled:
        subject.compile()
    return subject


def _answer(
    subject: "Subject",
    do: str,
    decoding: str = "",
    images: int = 1,
    stage: str = "decode",
    **limits: Any,
) -> Any:
    """Answer a request: what to do, and the fields that `TimedSystem` sends with it."""
    from dsacap.common.machine import machine
    from dsacap.timing.clock import repeated

    if do == "machine":
        return machine(subject.device)
    if do == "cost":
        return subject.cost(decoding, images)
    if do == "largest":
        return subject.largest_batch(decoding, images)
    return repeated(lambda: subject.prepare(stage, decoding, images), subject.device, **limits)


if __name__ == "__main__":
    main()
