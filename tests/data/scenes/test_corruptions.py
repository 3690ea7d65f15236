from collections import Counter

import numpy as np
import pytest

from dsacap.data.scenes.corruptions import RESPECTS, corrupt
from dsacap.data.scenes.generate import sample_scene
from dsacap.data.scenes.grammar import Scene, Thing, describe, is_true, parse


def scene_and_caption(seed: int) -> tuple[Scene, str]:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    return scene, describe(scene, rng).lower().rstrip(".").replace(",", "")


def test_a_corrupted_caption_is_grammatical_false_and_one_phrase_away():
    respects = Counter()
    for seed in range(300):
        scene, caption = scene_and_caption(seed)
        wrong, respect = corrupt(caption, scene, np.random.default_rng(seed))
        assert is_true(parse(caption), scene) and not is_true(parse(wrong), scene)
        differing = [
            pair for pair in zip(caption.split(), wrong.split(), strict=False) if pair[0] != pair[1]
        ]
        if respect != "position":  # an article may change with its colour
            assert (
                len(caption.split()) == len(wrong.split())
                and len([a for a, _ in differing if a not in ("a", "an")]) == 1
            )
        respects[respect] += 1
    assert set(respects) == set(RESPECTS) and min(respects.values()) > 15


def test_the_same_generator_gives_the_same_corruption():
    scene, caption = scene_and_caption(1)
    assert corrupt(caption, scene, np.random.default_rng(5)) == corrupt(
        caption, scene, np.random.default_rng(5)
    )


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        (
            "an orange bar",
            {"a red bar", "a green bar", "a blue bar", "a yellow bar", "a purple bar"},
        ),
        ("two bars", {"two circles", "two squares", "two triangles", "two crosses", "two rings"}),
        ("a small bar", {"a big bar"}),
    ],
)
def test_articles_and_plurals_stay_correct(caption, wrong):
    scene = Scene(
        "white", (Thing("bar", "orange", "small", (0, 0)), Thing("bar", "orange", "small", (1, 1)))
    )
    respect = {"an": "colour", "two": "shape", "a": "size"}[caption.split()[0]]
    found = {
        corrupted
        for seed in range(60)
        if (corrupted := corrupt(caption, scene, np.random.default_rng(seed)))[1] == respect
    }
    assert {corrupted for corrupted, _ in found} == wrong


def test_a_caption_without_a_false_variant_is_not_corrupted():
    assert (
        corrupt("there is nothing to exchange here", Scene("white", ()), np.random.default_rng(0))
        is None
    )
