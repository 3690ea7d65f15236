from dsacap.scoring.metrics.train_overlap import Leaks, count_leaks

TRAIN = {"a dog runs", "two cats", ""}


def test_every_caption_counts_and_empty_ones_do_not():
    leaks = count_leaks({5: ["a dog runs", "a dog"], 3: ["two cats", "two cats"], 9: [""]}, TRAIN)
    assert leaks == Leaks(3, 5, ((5, "a dog runs"), (3, "two cats"), (3, "two cats")))
    assert leaks.share == 0.6


def test_examples_are_few():
    assert count_leaks({i: ["two cats"] for i in range(10)}, TRAIN, examples=2) == Leaks(
        10, 10, ((0, "two cats"), (1, "two cats"))
    )


def test_nothing_to_leak():
    assert count_leaks({}, TRAIN).share == 0
    assert count_leaks({1: ["a bird"]}, TRAIN) == Leaks(0, 1, ())


def test_one_caption_that_leaks_is_all_of_them():
    assert count_leaks({1: ["two cats"]}, TRAIN).share == 1
    assert len(count_leaks({1: ["two cats"] * 9}, TRAIN).examples) == 3
