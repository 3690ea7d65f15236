"""The recipe on COCO: what all rows must share, and what the decodings must contain."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from dsacap.config.experiment import Config, parse_config
from dsacap.config.training import Tuning

FOLDER = Path(__file__).parents[2] / "config"
CONFIGURATIONS = {
    "coco": ("coco.yaml",),
    "quick": ("coco-quick.yaml",),
    "rivals": ("coco.yaml", "rivals/coco.yaml"),
    "blip": ("coco.yaml", "rivals/coco.yaml", "blip/coco.yaml"),
}
TRAIN = 113_287


def merged(*files: str) -> Config:
    data: dict = {}
    for file in files:
        update_config(data, yaml.safe_load((FOLDER / file).read_text()))
    return parse_config(data, files[-1])


@pytest.fixture(params=CONFIGURATIONS)
def config(request) -> Config:
    return merged(*CONFIGURATIONS[request.param])


def test_all_rows_are_regularised_and_averaged_alike(config):
    for name in config.systems:
        training = config.training_of(name)
        assert (training.ema, training.precision) == (config.training.ema, "bf16")
        assert training.ema > 0
        model = config.trained(name).model
        # A pretrained language model has its own .1, which its configuration says.
        if config.captioner_of(name) != "prefix-lm" and not name.endswith("as-published"):
            assert (model["dropout"], model["feature_dropout"]) == (0.1, 0.5), name


def test_epochs_are_those_of_public_recipes(config):
    def epochs(name: str) -> float:
        settings = config.training_of(name)
        return settings.steps * settings.batch_size / (settings.images or TRAIN)

    assert 15 <= epochs("ar") <= 30
    for name, system in config.systems.items():
        if system.tuning is None:
            assert 10 <= epochs(name) <= 62, name
        elif system.tuning.rewards and "1 epoch" not in (system.label or ""):
            assert epochs(name) >= 20, name


def test_dsacap_is_decoded_as_the_abstract_says_and_without_noise(config):
    search = {"search": "viterbi", "bigram_weight": 0.5}
    for name, system in config.systems.items():
        if config.captioner_of(name) == "dsacap":
            model = config.trained(name).model
            assert {"noise_level": 0, **search} in system.decodings.values(), name
            assert model.get("beta") == 20 or system.distilled_from
            if name == "dsacap":
                first = next(iter(system.decodings.values()))
                assert first == {"noise_level": 0.3, "steps": 2, **search}


def test_rewards_are_tried_with_and_without_kl():
    config = merged(*CONFIGURATIONS["rivals"])
    for name in ("ar-rl", "dsacap-rl"):
        plain, kl = config.training_of(name), config.training_of(f"{name}-kl")
        assert isinstance(plain, Tuning) and isinstance(kl, Tuning)
        assert plain.kl == 0 and 0.02 <= kl.kl <= 0.1
        assert plain.model_copy(update={"kl": kl.kl}) == kl


def test_the_first_row_is_checked_at_full_size():
    config = merged(*CONFIGURATIONS["coco"])
    assert config.systems["ar"].expected.cider == 115
    first = next(iter(config.systems["ar"].decodings.values()))
    assert first == {"beam": 3}  # the published figures are by beam search
    assert config.training_of("ar").validation_images == config.dataset.expected["val"]


def test_the_tenth_reads_the_same_data():
    whole, tenth = (merged(*CONFIGURATIONS[name]) for name in ("coco", "quick"))
    assert (whole.dataset, whole.text) == (tenth.dataset, tenth.text)
    assert tenth.training_of("ar").images == TRAIN // 10 + 1
    for name in {*whole.systems} & {*tenth.systems}:
        assert tenth.trained(name).model == whole.trained(name).model, name


def test_every_row_of_a_claim_has_three_seeds_and_its_control():
    config = merged("coco.yaml", "ablation/coco.yaml")
    assert config.ablation
    for name, claim in config.ablation.claims.items():
        for test in (claim.primary, *claim.secondary):
            for row in (test.better, test.worse):
                assert len(config.seeds_of(row.system)) >= 3, name
    assert {"C1", "C1-control", "C3"} <= config.ablation.claims.keys()
    control = config.ablation.claims["C1"].control
    assert control and control.system == "dsacap-noise-off"
    assert config.ablation.claims["C3"].control == control
