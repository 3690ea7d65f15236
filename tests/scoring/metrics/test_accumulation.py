import pytest

from dsacap.scoring.metrics.accumulation import late_minus_early, recovery, right_ngrams

REFERENCES = ["a red ring left of a blue bar"]


def test_a_trigram_is_right_where_a_reference_has_it():
    assert right_ngrams("a red ring of a blue", [*REFERENCES, "ring of fire"]) == [
        True,
        False,
        False,
        True,
    ]
    assert right_ngrams("a red", REFERENCES) == []


def test_late_minus_early():
    assert late_minus_early("a red ring left of a blue bar", REFERENCES) == 0
    assert late_minus_early("a red ring left and two big dots", REFERENCES) == pytest.approx(
        0 - 2 / 3
    )
    assert (
        late_minus_early("a red", REFERENCES) is late_minus_early("a red ring", REFERENCES) is None
    )
    # The first of the two trigrams is right.
    assert late_minus_early("a red ring on", REFERENCES) == -1


def test_recovery_compares_what_follows_two_beginnings():
    assert recovery("of a blue bar", "of a blue bar", REFERENCES) == 0
    assert recovery("of a green bar", "of a blue bar", REFERENCES) == -1
    assert recovery("of a blue dot", "of a blue bar", REFERENCES) == -0.5
    assert recovery("of", "of a blue bar", REFERENCES) == -1
    assert recovery("of a blue bar", "", REFERENCES) is None
