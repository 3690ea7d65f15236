"""A measurement in a process of its own that ends in time, whatever happens in it."""

import contextlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from dsacap.common.errors import UserError, exhausted

_GRACE = 3  # seconds in which a process ends by itself
NOT_MEASURED = "not_measured"  # the key of the reason, in what `bounded` returns without a result


def bounded(function: Callable[..., Any], arguments: tuple, seconds: float) -> dict:
    """Call a function in a new process, which is killed when its time is over.

    Args:
        function: A function of a module, which the process imports.
        arguments: Its arguments, which are pickled between processes of one machine.
        seconds: The time that the process has, its start included.

    Returns:
        `{"measured": what the function returned}`, or `{NOT_MEASURED: the reason}`.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            return {NOT_MEASURED: f"took longer than {seconds:.0f} s"}
        answer = here.recv()
        process.join(_GRACE)
        return answer
    except EOFError:
        process.join()
        return {NOT_MEASURED: f"its process ended with status {process.exitcode}"}
    finally:
        _end(process)
        here.close()


def _end(process: SpawnProcess) -> None:
    """Kill a process, and the compilers that it has started, which are in its group."""
    assert process.pid is not None  # it was started
    with contextlib.suppress(ProcessLookupError):  # it has no group before it begins, and none left
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _answer(there: Connection, function: Callable[..., Any], arguments: tuple) -> None:
    os.setsid()
    os.environ["KINETO_LOG_LEVEL"] = "99"  # torch's profiler reports every start
    logging.disable(logging.WARNING)  # libraries warn about weights that are missing on purpose
    try:
        answer = {"measured": function(*arguments)}
    except ModuleNotFoundError as error:
        answer = {NOT_MEASURED: f"needs the package {error.name}"}
    except UserError as error:
        answer = {NOT_MEASURED: str(error)}
    except Exception as error:  # the other parts are measured all the same
        reason = exhausted(error) or f"{type(error).__name__}: {error}"
        answer = {NOT_MEASURED: reason.splitlines()[0]}
    there.send(answer)
