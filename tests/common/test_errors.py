import errno

import pytest
import torch

from dsacap.common.errors import exhausted


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "work/x"), "(work/x); make room"),
        (
            OSError(errno.EROFS, "Read-only file system", "work/x"),
            "write to another place (of a run, `work`)",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "out of memory; free some memory"),
        (RuntimeError("can't start new thread"), "out of memory (can't start new thread)"),
        (
            ImportError("a.so: failed to map segment from shared object"),
            "out of memory (a.so: failed",
        ),
        (
            ImportError("a.so: failed to map segment from shared object: Operation not permitted"),
            None,
        ),
        (OSError(errno.ENOENT, "No such file or directory"), None),
        (ValueError("not enough memory"), None),
    ],
)
def test_exhausted_resources_are_reported_with_a_remedy(error, message):
    assert message in exhausted(error) if message else exhausted(error) is None


def test_torch_without_memory_is_recognised():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert exhausted(raised.value).startswith("out of memory")
