"""The file that tests download, in three segments."""

import hashlib
from pathlib import Path

import numpy as np

from web import MIB

CONTENT = np.random.default_rng(0).bytes(5 * MIB + 123)
SIZE = len(CONTENT)
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
FIRST, SECOND, THIRD = (
    f"bytes=0-{2 * MIB - 1}",
    f"bytes={2 * MIB}-{4 * MIB - 1}",
    f"bytes={4 * MIB}-{SIZE - 1}",
)


def part_of(target: Path) -> Path:
    return target.with_name("file.bin.part")


def leave_part(target: Path, content: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(content)
