import os
import sys

import pytest

from dsacap.common.child_process import ChildEnded, ChildProcess

ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
TORN = "import sys; sys.stdin.readline(); print('{\"answer\": 1', end='', flush=True); sys.exit(3)"


def started(program: str) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", program], os.environ)


def test_requests_are_answered_in_order():
    child = started(ECHO)
    assert [child.ask({"n": n}) for n in (1, 2)] == [{"n": 1}, {"n": 2}]
    child.close()
    assert child.process.returncode is not None


def test_an_answer_that_is_cut_short_is_not_an_answer():
    child = started(TORN)
    with pytest.raises(ChildEnded):
        child.ask({})
    assert child.process.returncode == 3
    child.close()


def test_a_request_to_a_process_that_has_ended_is_reported():
    child = started("")
    child.process.wait()
    child.send({})
    with pytest.raises(ChildEnded):
        child.ask({})
    child.close()
