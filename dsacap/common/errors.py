"""Errors meant for people.

These are errors that the user can correct, and exhausted resources (disk space, permissions, file
handles, memory), which are reported plainly and with a remedy.
"""

import errno
import signal

_DISK = "make room, or write to another disk (of a run, `work`)"
_RIGHTS = "write to another place (of a run, `work`), or change the owner of this one"
_NAME = "write to another file"
_MEMORY = "free some memory, or use smaller batches and fewer processes"
_CLEAN = "No incomplete file was kept."
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _DISK),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), _NAME),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit (ulimit -n 4096)"),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), _MEMORY),
}
_MEMORY_MESSAGES = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "can't start new thread",
    "unable to mmap",
    "Cannot allocate memory",
)
# The loader's message for want of memory ends here. Where the disk forbids the mapping, the reason
# follows.
_LOADER_MESSAGE = "failed to map segment from shared object"

PREEMPTED = 128 + signal.SIGTERM  # exit status (143) of a training that can be resumed


class UserError(Exception):
    """An error that the user can correct.

    The message states what is wrong, where (file, line, id) and what to do. The command line prints
    it without a traceback and exits with status 1.
    """


class Preempted(Exception):
    """A request to stop that long work has obeyed, after saving its progress.

    The command line prints the message and exits with status `PREEMPTED`.
    """


def exhausted(error: BaseException) -> str | None:
    """Return a message for an error that an exhausted resource caused.

    Args:
        error: Any exception.

    Returns:
        What ran out and the remedy; None for an error of another kind.
    """
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}; {_REMEDIES[error.errno]}. {_CLEAN}"
    message = str(error)
    lines = message.splitlines()
    of_memory = any(text in message for text in _MEMORY_MESSAGES)
    of_memory = of_memory or message.endswith(_LOADER_MESSAGE)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError | ImportError) and of_memory
    ):
        reason = f" ({lines[0][:200]})" if lines else ""
        return f"out of memory{reason}; {_MEMORY}. {_CLEAN}"
    return None
