"""The contrastive judge, on embeddings made by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsacap.vision.generators import judges
from dsacap.vision.generators.generator import embedding
from dsacap.vision.generators.judges import Contrast, Reconstruction

IDS = [3, 5, 8, 9]
# One cell of two channels: image 8 looks much like 3, image 9 is the opposite.
ORIGINALS = {3: [1.0, 0.0], 5: [0.0, 1.0], 8: [1.0, 0.2], 9: [-1.0, 0.0]}
PICTURES = {"right": [1.0, -0.1], "typical": [1.0, 0.1], "wrong": [-1.0, 0.3]}


class Store:
    """Features by id; the pooled vectors, by which neighbours are found, have a channel more."""

    @staticmethod
    def read(image_ids):
        return torch.tensor([[ORIGINALS[i]] for i in image_ids])

    @staticmethod
    def read_pooled(image_ids):
        return F.normalize(torch.tensor([[*ORIGINALS[i], 0.5] for i in image_ids]), dim=-1)


class Words:
    """A generator that paints a caption's word, and counts how often."""

    grid = 1
    calls = 0

    def embed(self, captions, image_ids):
        self.calls += 1
        return embedding(torch.tensor([[PICTURES[caption]] for caption in captions]))


def contrast(ids=IDS) -> Contrast:
    return Contrast(Reconstruction(Words(), Store), ids)


def cosine(a: list[float], b: list[float]) -> float:
    return (a[0] * b[0] + a[1] * b[1]) / math.hypot(*a) / math.hypot(*b)


def by_hand(caption: str, image: int, others: list[int], tau: float = 0.1) -> float:
    of = {i: math.exp(cosine(PICTURES[caption], ORIGINALS[i]) / tau) for i in [image, *others]}
    return of[image] / sum(of.values())


def test_neighbours_are_the_nearest_and_never_the_image_itself(monkeypatch):
    assert contrast().neighbours(3) == [8, 5, 9]
    assert contrast().neighbours(9) == [5, 8, 3]
    monkeypatch.setattr(judges, "NEIGHBOURS", 1)
    assert [contrast().neighbours(i) for i in IDS] == [[8], [8], [3], [5]]


def test_the_score_is_the_probability_of_the_image_among_its_neighbours(monkeypatch):
    captions = [["right", "typical", "right"], ["wrong", "wrong", "typical"]]
    found = contrast().score([3, 9], captions)
    expected = [
        [by_hand("right", 3, [8, 5, 9]), by_hand("typical", 3, [8, 5, 9])],
        [by_hand("wrong", 9, [5, 8, 3]), by_hand("typical", 9, [5, 8, 3])],
    ]
    assert found[0].tolist() == pytest.approx([*expected[0], expected[0][0]], rel=1e-4)
    assert found[1].tolist() == pytest.approx([expected[1][0], *expected[1]], rel=1e-4)
    monkeypatch.setattr(judges, "NEIGHBOURS", 1)
    nearest = contrast().score([3], [["typical"]])
    assert nearest[0, 0] == pytest.approx(by_hand("typical", 3, [8]), rel=1e-4)


def test_it_prefers_what_tells_an_image_from_its_neighbour_where_the_cosine_does_not():
    judge = contrast()
    right, typical = judge.score([3], [["right", "typical"]])[0]
    assert right > 0.57 > 0.53 > typical
    same = judge.reconstruction.score([3], [["right", "typical"]])[0]
    assert same[0] == pytest.approx(same[1])


def test_a_caption_that_fits_all_as_well_has_the_share_of_one(monkeypatch):
    monkeypatch.setitem(PICTURES, "right", [0.0, 0.0])
    assert contrast().score([5], [["right"]])[0, 0] == pytest.approx(1 / 4)


def test_pictures_are_generated_once_for_both_judges():
    judge, captions = contrast(), [["right"], ["wrong"]]
    for calls, image_ids in ((1, [3, 5]), (2, [3, 9])):
        found = judge.score(image_ids, captions), judge.reconstruction.score(image_ids, captions)
        assert judge.reconstruction.generator.calls == calls
        anew = contrast().score(image_ids, captions)
        assert found[0].tolist() == anew.tolist()
    cosines = [[cosine(PICTURES["right"], ORIGINALS[3])], [cosine(PICTURES["wrong"], ORIGINALS[9])]]
    assert found[1] == pytest.approx(np.array(cosines))


def test_only_the_images_that_are_judged_are_neighbours():
    assert contrast([3, 9]).neighbours(3) == [9]
