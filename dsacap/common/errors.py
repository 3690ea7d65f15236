"""This module holds the errors that are meant for people: those that the user can correct, and those of a machine that lacks room,
rights, handles or memory, which are reported plainly and with a remedy."""

import errno
import signal

_DISK = "make room or choose another `work` folder"
_RIGHTS = "choose another `work` folder, or change whose it is"
_MEMORY = "free some memory, or take smaller batches and fewer processes"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _DISK),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (ulimit -n 4096)"),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), _MEMORY),
}
_SAID_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "can't start new thread",
    "unable to mmap",
    "Cannot allocate memory",
)
_SAID_BY_LOADER = (
    "failed to map segment from shared object"  # and no more: where a disk forbids it, that follows
)

PREEMPTED = (
    128 + signal.SIGTERM
)  # exit status of a training that was asked to end, and can go on: 143


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where (file, line, id) and what to do; the command line prints it
    without a traceback and exits with 1."""


class Preempted(Exception):
    """Long work was asked to end and has saved where it stands. The command line prints the message and exits with PREEMPTED."""


def exhausted(error: BaseException) -> str | None:
    """What to tell of such an error; None where it is of another kind."""
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}; {_REMEDIES[error.errno]}. Nothing half-written was kept."
    said = str(error)
    lines = said.splitlines()
    of_memory = any(words in said for words in _SAID_OF_MEMORY) or said.endswith(_SAID_BY_LOADER)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError | ImportError) and of_memory
    ):
        return f"out of memory{f' ({lines[0][:200]})' if lines else ''}; {_MEMORY}. Nothing half-written was kept."
    return None
