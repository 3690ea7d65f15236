import pytest

from dsacap.common.errors import UserError
from dsacap.data.scenes.grammar import Scene, Thing
from dsacap.scoring.metrics.scene_truth import score_truth

SCENE = Scene(
    "white",
    (
        Thing("circle", "red", "large", (0, 0)),
        Thing("circle", "red", "small", (1, 1)),
        Thing("bar", "blue", "small", (1, 0)),
    ),
)


@pytest.mark.parametrize(
    "caption",
    [
        "a big red circle in the top left and a blue bar on a white background",
        "there are two red discs and a tiny blue stripe",
        "a large circle above a blue bar",
        "a picture of a small circle to the right of a bar",
    ],
)
def test_true(caption):
    assert judge(caption) == (1, 1)


@pytest.mark.parametrize(
    "caption",
    [
        "a big green circle in the top left and a blue bar on a white background",  # colour
        "a big blue bar",  # size
        "a red square",  # shape
        "a small red circle in the top left",  # place
        "a large red circle below a blue bar",  # relation
        "there are three red circles",  # count
        "a red circle and a blue bar on a black background",  # background
        "a blue bar and a blue stripe",  # the same bar twice
    ],
)
def test_false_by_one_thing(caption):
    assert judge(caption) == (1, 0)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red",
        "a red circle blue bar",
        "a circle red",
        "a red circle and",
        "two red circle",
        "a red dog",
    ],
)
def test_ungrammatical(caption):
    assert judge(caption) == (0, 0)


def judge(caption: str) -> tuple[float, float]:
    results = score_truth({1: caption}, {1: SCENE})
    return results["grammatical"].corpus, results["true"].corpus


def test_shares():
    other = Scene(
        "black", (Thing("cross", "green", "large", (0, 0)), Thing("ring", "blue", "small", (0, 1)))
    )
    captions = {
        2: "a red circle",
        1: "a red circle",
        3: "a circle of red",
        4: "a green plus and a blue hoop",
    }
    results = score_truth(captions, {1: SCENE, 2: other, 3: SCENE, 4: other, 5: SCENE})
    assert results["grammatical"].per_image == {2: 1, 1: 1, 3: 0, 4: 1}
    assert results["true"].per_image == {2: 0, 1: 1, 3: 0, 4: 1}
    assert (results["grammatical"].corpus, results["true"].corpus) == (0.75, 0.5)


def test_guards():
    with pytest.raises(UserError, match="no captions"):
        score_truth({}, {1: SCENE})
    with pytest.raises(
        UserError, match=r"2 of 3 captions are of images without a scene \(first: 7\)"
    ):
        score_truth({9: "a bar", 1: "a bar", 7: "a bar"}, {1: SCENE})
