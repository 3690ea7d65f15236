import pytest

from dsacap.common.schedule import warmup_times_cosine


def test_the_rate_warms_up_and_then_falls_along_a_half_cosine():
    rates = [warmup_times_cosine(2.0, step, steps=100, warmup=10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(1.0)
    assert max(rates) < 2.0 and rates.index(max(rates)) == 9
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert warmup_times_cosine(2.0, 100, steps=100, warmup=10) == pytest.approx(0)
