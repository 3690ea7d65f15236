"""CIDEr at the same mBLEU-4: interpolation, its uncertainty, and no extrapolation."""

import json

import numpy as np
import pandas as pd
import pytest

from dsacap.common.files import write_json
from dsacap.config.claims import AtSameDiversity, Claim, Dial
from dsacap.reporting.claims import write_claims
from dsacap.reporting.same_diversity import (
    Extrapolated,
    averaged,
    cider_at,
    interpolated,
    mbleu_by_image,
    mean_cider,
)
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.diversity import diversity
from helpers import tiny_config

WORDS = ["a", "red", "dog", "runs", "on", "big", "wave", "park"]
RNG = np.random.default_rng(4)
DIAL = Dial(system="ar", decodings=("greedy", "T=1"))


def samples_of(images: int, alike: float) -> list[list[str]]:
    """Return three captions of each image, of which a word is the first's with some probability."""
    samples = []
    for _ in range(images):
        first = RNG.choice(WORDS, size=8)
        others = [
            np.where(RNG.random(8) < alike, first, RNG.choice(WORDS, size=8)) for _ in range(2)
        ]
        samples.append([" ".join(words) for words in (first, *others)])
    return samples


def test_the_mean_of_the_values_by_image_is_mbleu():
    samples = samples_of(30, alike=0.8)
    expected = diversity(dict(enumerate(samples)), set())["mBLEU-4"].corpus
    assert mbleu_by_image(samples).mean() == pytest.approx(expected, rel=1e-12)


def test_interpolation_is_linear_in_mbleu():
    left = pd.DataFrame({"CIDEr": [10.0, 30.0], "mBLEU": [0.2, 0.4]})  # means 20 and .3
    right = pd.DataFrame({"CIDEr": [40.0, 60.0], "mBLEU": [0.8, 0.6]})  # means 50 and .7
    halfway = interpolated(left, right, 0.4)  # w = 1/4
    assert halfway.mean() == pytest.approx(27.5)
    # The first image: CIDEr 17.5, mBLEU .35, slope 75.
    assert halfway[0] == pytest.approx(17.5 - 75 * (0.35 - 0.4))
    assert interpolated(left, right, 0.3).mean() == pytest.approx(20)
    assert interpolated(left, right, 0.7).mean() == pytest.approx(50)


def test_the_spread_of_the_values_is_that_of_the_interpolation_over_images():
    """Compared with a bootstrap that computes mBLEU-4 and the interpolation anew."""
    images, at = 60, 0.5
    samples = [samples_of(images, alike) for alike in (0.6, 0.9)]
    ciders = RNG.normal(1, 0.3, size=(2, images)) + np.array([[1.0], [3.0]])
    points = [
        pd.DataFrame({"CIDEr": cider, "mBLEU": mbleu_by_image(of_images)})
        for cider, of_images in zip(ciders, samples, strict=True)
    ]
    assert points[0].mBLEU.mean() < at < points[1].mBLEU.mean()
    error = interpolated(*points, at).std() / np.sqrt(images)
    drawn = []
    for _ in range(150):
        chosen = RNG.integers(images, size=images)
        low, high = (mbleu_by_image([of[i] for i in chosen]).mean() for of in samples)
        w = (at - low) / (high - low)
        drawn.append((1 - w) * ciders[0, chosen].mean() + w * ciders[1, chosen].mean())
    assert error == pytest.approx(np.std(drawn), rel=0.2)
    # Without the influence on mBLEU-4 it would be too small.
    fixed = pd.concat(points).CIDEr.groupby(level=0).mean().std() / np.sqrt(images)
    assert fixed < 0.8 * np.std(drawn)


def claims_of(tmp_path, at: float) -> Layout:
    """Captions and scores of two dials and three seeds; DSACap's CIDEr is higher by 100 (x100)."""
    tiny = tiny_config(tmp_path).model_dump(mode="json", exclude_unset=True)["systems"]
    tiny["dsacap"]["decodings"]["K=2"] = {"noise_level": 0.3, "steps": 2}
    ours, dial = Dial(system="dsacap", decodings=("K=1", "K=2")), DIAL
    test = AtSameDiversity(at=at, better=ours, worse=dial)
    claims = {"Q3": Claim(says="better at the same diversity", primary=test).model_dump()}
    config = tiny_config(tmp_path, systems=tiny, seeds=[0, 1, 2], ablation={"claims": claims})
    layout = Layout(config)
    for side, more in ((ours, 1.0), (dial, 0.0)):
        for seed in config.seeds:
            scores, captions = {}, {}
            for decoding, alike, cider in zip(side.decodings, (0.9, 0.5), (2.0, 1.0), strict=True):
                of_image = dict(enumerate(cider + more + RNG.normal(size=40) * 0.1))
                captions[decoding] = dict(enumerate(samples_of(40, alike)))
                mbleu = mbleu_by_image([*captions[decoding].values()]).mean()
                of = {"mBLEU-4": mbleu, "Self-CIDEr": 0.5, "unique": 3}
                quality = {"value": np.mean([*of_image.values()]), "per_image": of_image}
                diversity = {name: {"value": value} for name, value in of.items()}
                scores[decoding] = {"quality": {"CIDEr": quality}, "diversity": diversity}
            write_json(layout.scores(side.system, seed), scores)
            write_json(layout.captions(side.system, seed), captions)
    return layout


def test_a_claim_is_decided_by_cider_at_the_same_diversity(tmp_path):
    """From captions and scores to the verdict: nothing in between is replaced."""
    layout = claims_of(tmp_path, at=0.5)
    write_claims(layout)
    text = layout.claims.read_text()
    assert "## Q3: supported\n" in text and "## Quality against diversity" in text
    found = pd.read_csv(layout.claims.with_suffix(".csv")).iloc[0]
    assert found.metric == "CIDEr at mBLEU-4 0.5" and found.images == 40
    assert 0 < found.low < found.effect < found.high and found.low < 100 < found.high
    assert found.better == "dsacap, K=1 / K=2" and found.p_holm == found.p < 0.05


def test_a_claim_that_needs_extrapolation_is_undecided(tmp_path):
    layout = claims_of(tmp_path, at=0.99)
    write_claims(layout)
    assert "## Q3: undecided: dsacap would be extrapolated" in layout.claims.read_text()


def decoding(cider: float, mbleu: float) -> tuple[pd.DataFrame, float]:
    """Return a decoding that has the same scores on each of two images."""
    return pd.DataFrame({"CIDEr": [cider] * 2, "mBLEU": [mbleu] * 2}), mbleu


def test_mean_cider_is_the_area_under_the_line_divided_by_the_width():
    points = [decoding(100, 0.4), decoding(200, 0.6), decoding(220, 1.0)]
    # 150 to 200 over .5 to .6, and 200 to 210 over .6 to .8: (.1 x 175 + .2 x 205) / .3
    assert averaged(points, (0.5, 0.8)).tolist() == pytest.approx([195, 195])
    assert averaged(points, (0.4, 0.6)).mean() == pytest.approx(150)
    # A decoding in the middle of a straight line changes nothing; one of the same mBLEU-4 neither.
    finer = [decoding(100, 0.4), decoding(150, 0.5), decoding(150, 0.5), *points[1:]]
    assert averaged(finer, (0.45, 0.8)).mean() == pytest.approx(
        averaged(points, (0.45, 0.8)).mean()
    )


def test_mean_cider_is_the_mean_of_interpolated_cider():
    points = [
        pd.DataFrame({"CIDEr": RNG.normal(200, 30, 9), "mBLEU": RNG.normal(at, 0.1, 9)})
        for at in (0.3, 0.5, 0.9)
    ]
    means = [point.mBLEU.mean() for point in points]
    start, end = means[0] + 0.01, means[2] - 0.01
    width = (end - start) / 4000
    fine = [
        interpolated(*(points[:2] if at < means[1] else points[1:]), at)
        for at in start + width * (np.arange(4000) + 0.5)
    ]
    found = averaged(list(zip(points, means, strict=True)), (start, end))
    np.testing.assert_allclose(found, np.mean(fine, axis=0), rtol=1e-4)


def test_the_spread_of_mean_cider_is_that_over_images():
    """Compared with a bootstrap that computes mBLEU-4 and the area anew."""
    images, between = 60, (0.45, 0.7)
    samples = [samples_of(images, alike) for alike in (0.5, 0.75, 0.95)]
    ciders = RNG.normal(1, 0.3, size=(3, images)) + np.array([[1.0], [2.5], [3.0]])

    def area(chosen: np.ndarray) -> pd.Series:
        points = [
            pd.DataFrame({"CIDEr": cider[chosen], "mBLEU": mbleu_by_image([of[i] for i in chosen])})
            for cider, of in zip(ciders, samples, strict=True)
        ]
        return averaged([(point, point.mBLEU.mean()) for point in points], between)

    error = area(np.arange(images)).std() / np.sqrt(images)
    drawn = [area(RNG.integers(images, size=images)).mean() for _ in range(120)]
    assert error == pytest.approx(np.std(drawn), rel=0.25)


def test_result_files_are_interpolated_and_not_extrapolated(tmp_path):
    layout = Layout(tiny_config(tmp_path))
    ids = [str(i) for i in range(20)]
    samples = {"greedy": samples_of(20, alike=0.9), "T=1": samples_of(20, alike=0.5)}
    scores = {
        name: {"quality": {"CIDEr": {"per_image": dict.fromkeys(ids, cider)}}}
        for name, cider in (("greedy", 2.0), ("T=1", 1.0))
    }
    captions = {name: dict(zip(ids, of, strict=True)) for name, of in samples.items()}
    for path, content in (
        (layout.scores("ar", 0), scores),
        (layout.captions("ar", 0), captions),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    means = {name: mbleu_by_image(of).mean() for name, of in samples.items()}
    middle = (means["greedy"] + means["T=1"]) / 2
    found = cider_at(layout, DIAL, 0, middle)
    assert set(found) == set(ids) and np.mean(list(found.values())) == pytest.approx(150)
    over = mean_cider(layout, DIAL, 0, (middle - 0.01, middle + 0.01))
    assert over == pytest.approx(found)  # the line is straight
    for outside in (means["T=1"] - 0.01, means["greedy"] + 0.01):
        with pytest.raises(Extrapolated, match="ar would be extrapolated: mBLEU-4 0"):
            cider_at(layout, DIAL, 0, outside)
        with pytest.raises(Extrapolated, match="ar would be extrapolated: mBLEU-4 0"):
            mean_cider(layout, DIAL, 0, (min(middle, outside), max(middle, outside)))
