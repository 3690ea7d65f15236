from dsacap.data.scenes.grammar import Scene, Thing
from dsacap.reporting.page.marks import grammar, truth

RING = Scene("black", (Thing("ring", "red", "large", (0, 0)),))


def test_every_caption_is_judged_against_its_own_picture():
    blue = Scene("black", (Thing("ring", "blue", "large", (0, 0)),))
    rows = [{1: ["A red ring.", "ring a"], 2: ["A red ring.", "a blue ring"]}]
    found = truth(rows, [1, 2], {1: RING, 2: blue})
    assert found.kind == "truth" and found.names[:2] == ["true", "false"]
    assert found.rows == [["02", "10"]]


def test_faults_are_named_and_captions_without_one_come_first():
    train = ["a dog runs"] * 5 + ["two dogs running"] * 5
    rows = [{7: ["a a dog", "a dog runs"]}, {7: ["a dog on a", "two dog is on a a"]}]
    found = grammar(rows, [7], train)
    assert found.kind == "faults" and found.names[0] == "no fault found"
    said = [[found.names[int(digit, 36)] for digit in row[0]] for row in found.rows]
    assert said[0] == ["a doubled word", "no fault found"]
    assert said[1][0] == "an unfinished phrase"
    assert said[1][1].startswith("a doubled word, a wrong number")
