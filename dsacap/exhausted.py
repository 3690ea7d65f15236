"""Errors whose cause is the machine and not the input: no room, no rights, no handles, no memory. Said plainly, with what to do."""

import errno

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


def exhausted(error: BaseException) -> str | None:
    """What to tell of such an error; None where it is of another kind."""
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}; {_REMEDIES[error.errno]}. Nothing half-written was kept."
    lines = str(error).splitlines()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError | ImportError) and any(s in str(error) for s in _SAID_OF_MEMORY)
    ):
        return f"out of memory{f' ({lines[0][:200]})' if lines else ''}; {_MEMORY}. Nothing half-written was kept."
    return None
