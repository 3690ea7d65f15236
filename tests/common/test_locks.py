import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from dsacap.common.errors import UserError
from dsacap.common.locks import claim, writing

HOLD = """
import sys, time
from pathlib import Path
from dsacap.common.locks import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_with_the_holder_of_the_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(
        UserError, match=rf"another run works here \(process {holder.pid} since .* UTC\); wait"
    ):
        claim(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    claim(tmp_path)


def _write(path, results):
    with writing(path):
        before = path.read_text() if path.exists() else ""
        results.append(before)
        path.write_text(before + "x")


def test_writers_wait_for_each_other(tmp_path):
    path = tmp_path / "model"
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.list()
        with writing(path):
            path.write_text("first")
            others = [context.Process(target=_write, args=(path, results)) for _ in range(3)]
            for other in others:
                other.start()
            others[0].join(0.3)
            assert not results, "the other writers must wait"
        for other in others:
            other.join(300)
        assert sorted(results) == ["first", "firstx", "firstxx"]
