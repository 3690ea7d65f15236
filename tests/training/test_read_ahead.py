import threading

import pytest

from dsacap.training.read_ahead import ReadAhead


def test_the_next_step_is_read_during_the_current_one():
    begun = {step: threading.Event() for step in range(4)}
    threads = {}

    def read(step: int) -> int:
        begun[step].set()
        threads[step] = threading.current_thread()
        return 10 * step

    ahead = ReadAhead(read, 3)
    for step in range(3):
        assert ahead(step) == 10 * step
        if step < 2:
            assert begun[step + 1].wait(10)  # although it was not asked for yet
    assert not begun[3].is_set()
    assert threads[0] is threading.main_thread() and threads[1] is threads[2] is not threads[0]


def test_a_step_out_of_order_is_read_on_demand():
    ahead = ReadAhead(lambda step: step, 100)
    assert [ahead(step) for step in (5, 6, 2, 3, 99, 100)] == [5, 6, 2, 3, 99, 100]


def test_an_exception_is_raised_when_its_step_is_asked_for():
    ahead = ReadAhead(lambda step: 1 // (1 - step), 3)
    assert ahead(0) == 1
    with pytest.raises(ZeroDivisionError):
        ahead(1)
