from dsacap.scoring.metrics.accumulation import right_ngrams, share_right

REFERENCES = ["a red ring left of a blue bar"]


def test_a_trigram_is_right_where_a_reference_has_it():
    assert right_ngrams("a red ring of a blue", [*REFERENCES, "ring of fire"]) == [
        True,
        False,
        False,
        True,
    ]
    assert right_ngrams("a red", REFERENCES) == []


def test_the_share_of_right_trigrams():
    assert share_right("of a blue bar", REFERENCES) == 1
    assert share_right("of a blue dot", REFERENCES) == 0.5
    assert share_right("of a green bar", REFERENCES) == 0
    assert share_right("of", REFERENCES) == share_right("", REFERENCES) == 0
