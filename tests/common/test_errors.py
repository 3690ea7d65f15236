import errno

import pytest
import torch

from dsacap.common.errors import exhausted


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "work/x"), "(work/x); make room"),
        (OSError(errno.EROFS, "Read-only file system", "work/x"), "choose another `work` folder"),
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
def test_is_told_with_what_to_do(error, said):
    assert said in exhausted(error) if said else exhausted(error) is None


def test_torchs_own_words():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert exhausted(raised.value).startswith("out of memory")
