from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from dsacap.common.errors import UserError
from dsacap.config.experiment import load_config, parse_config
from dsacap.runs.layout import Layout
from helpers import tiny_config

FOLDER = Path(__file__).parents[2] / "config"
CONFIGS = sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("noise/*.yaml")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configurations_are_well_formed(path):
    assert load_config(path).name == path.stem


@pytest.mark.parametrize(
    "addition",
    sorted(set(FOLDER.glob("*/*.yaml")) - set(CONFIGS)),
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)
def test_shipped_additions_fit_their_configurations(addition):
    """Merge as Snakemake merges several --configfile; `X-rivals` is laid over X and its rivals.

    Trials are laid over the rivals' configuration too, since rivals are tried as often as others.
    """
    configs, name = addition.parents[1], addition.stem.removesuffix("-rivals")
    below = [configs / f"{name}.yaml"]
    if addition.parent.name == "trials":
        rivals = {"scenes": ["scenes-long", "scenes"], "flickr8k": ["flickr8k", "rivals/flickr8k"]}
        below = [configs / f"{part}.yaml" for part in rivals[name]]
    elif name != addition.stem:
        below.append(configs / f"rivals/{name}.yaml")
    data, more = {}, yaml.safe_load(addition.read_text())
    for path in below:
        update_config(data, yaml.safe_load(path.read_text()))
    update_config(data, more)
    config = parse_config(data, addition.name)
    assert all(getattr(config, key) for key in more)


JUDGED = {
    "metric": "judged_reconstruction",
    "better": {"system": "dsacap", "decoding": "K=1, t_s=0.3"},
    "worse": {"system": "ar", "decoding": "greedy"},
}


def changed(path: str, value) -> dict:
    """Return the smoke configuration with the key at a dotted path set to another value."""
    data = yaml.safe_load(next(p for p in CONFIGS if p.stem == "smoke").read_text())
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[key]
    place[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", "colour: unknown key"),
        ("training.stepz", 3, "training.stepz"),
        ("training.steps", "many", "training.steps"),
        ("training.steps", 0, "greater than 0"),
        ("dataset.kind", "flickr", "dataset"),
        ("encoder.train", None, "encoder"),
        ("encoder.name", "ViT-B-16", "either train"),
        ("encoder.pretrained", "openai", "pretrained and sha256 belong to name"),
        ("encoder", {"name": "ViT-B-16"}, "needs a pretrained tag"),
        ("encoder", {"name": "timm:test_vit", "sha256": "0123"}, "encoder.sha256"),
        (
            "systems.ar.captioner",
            "autoregresive",
            "unknown captioner 'autoregresive'; known: dsacap",
        ),
        ("systems.ar.model.widht", 3, "unknown key 'widht'"),
        ("systems.ar.model.width", "wide", "model.width: Input should be a valid integer"),
        ("systems.ar.training", {"epochs": 3}, "\n  systems.ar.training.epochs: unknown key"),
        (
            "systems.ar.training",
            {"steps": True},
            "systems.ar.training.steps: Input should be a valid integer",
        ),
        ("systems.dsacap.decodings", {"K=1": {"noise": 0.3}}, "decodings.K=1: unknown key 'noise'"),
        ("systems.dsacap.decodings", {"K=1": {"noise_level": 2}}, "noise_level"),
        ("systems.dsacap.decodings", {}, "decodings"),
        (
            "systems.dsacap.model.readout",
            "slot",
            "readout: 'slot' is not one of dag, slots, ctc, cmlm",
        ),
        (
            "systems.dsacap.model.readout",
            "slots",
            "decodings.K=3, t_s=0.3: search: viterbi is not available for readout: slots",
        ),
        ("systems.dsacap.tuned_from", "ar", "give either captioner"),
        (
            "systems.dsacap-rl.tuned_from",
            "dsacp",
            "systems.dsacap-rl.tuned_from: no system 'dsacp'",
        ),
        ("systems.dsacap-rl.tuned_from", "dsacap-rl", "is itself tuned"),
        (
            "systems.dsacap-rl.tuned_from",
            "ar",
            "systems.dsacap-rl.decodings.K=1, t_s=0.3: unknown key 'noise_level'",
        ),
        ("systems.dsacap-rl.tuning", None, "give both tuned_from and tuning, or neither"),
        ("systems.dsacap-rl.model", {"width": 3}, "leave them out"),
        (
            "systems.dsacap.distilled_from",
            {"system": "ar", "decoding": "greedily"},
            "systems.dsacap.distilled_from: no row 'ar', 'greedily'",
        ),
        (
            "systems.dsacap.distilled_from",
            {"system": "dsacap-rl", "decoding": "K=1, t_s=0.3"},
            "'dsacap-rl' is itself distilled",
        ),
        (
            "systems.dsacap-rl.expected",
            {"cider": 100, "source": "a paper"},
            "systems.dsacap-rl: expected: belongs to a system that is trained on references",
        ),
        ("systems.ar.expected", {"cider": 0, "source": "a paper"}, "systems.ar.expected.cider"),
        ("systems.ar.expected", {"cider": 100}, "systems.ar.expected.source: is missing"),
        ("systems.ar.model.feature_dropout", "half", "model.feature_dropout: Input should be"),
        (
            "systems.dsacap-rl.tuning.rewards",
            {"repeats": 1},
            "needs a weight for cider, coverage, best, reconstruction, contrast or clipscore",
        ),
        ("systems.dsacap-rl.tuning.rewards.truth", 1, "unknown key"),
        (
            "generator",
            None,
            "systems.dsacap-rl.tuning.rewards: reconstruction and contrast need a generator",
        ),
        ("generator.name", "some/pipeline", "give either train"),
        ("generator", {"name": "some/pipeline"}, "a model on the hub needs a revision"),
        ("systems.dsacap-rl.tuning.ngrams", {"orders": 2}, "give either rewards or ngrams"),
        (
            "ablation",
            {"claims": {"C1": {"says": "better", "primary": JUDGED}}},
            "ablation.claims: claims on reconstructions need a judge",
        ),
        ("seeds", [], "seeds"),
        ("name", "a b; rm -rf", "name"),
    ],
)
def test_a_wrong_key_or_value_is_named(path, value, message):
    with pytest.raises(UserError, match=r"here\.yaml") as error:
        parse_config(changed(path, value), "here.yaml")
    assert message in str(error.value)


def test_not_yaml_and_not_there(tmp_path):
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"broken\.yaml: not YAML"):
        load_config(tmp_path / "broken.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_config(tmp_path / "absent.yaml")


def test_training_of_a_system_overrides_the_common_settings(tmp_path):
    config = tiny_config(tmp_path)
    systems = {"ar": {**config.systems["ar"].model_dump(), "training": {"steps": 3}}}
    config = tiny_config(tmp_path, systems=systems)
    assert (
        config.training_of("ar").steps == 3
        and config.training_of("ar").batch_size == config.training.batch_size
    )


def test_a_row_may_have_fewer_seeds_but_no_others(tmp_path):
    def runs(**seeds) -> list[tuple[str, int]]:
        systems = {
            name: system.model_dump() | {"seeds": seeds.get(name)}
            for name, system in tiny_config(tmp_path).systems.items()
        }
        return Layout(tiny_config(tmp_path, seeds=[0, 1, 2], systems=systems)).runs

    given = {"ar": [0], "dsacap": [0, 2], "dsacap-rl": [0]}
    assert runs(**given) == [("ar", 0), ("dsacap", 0), ("dsacap", 2), ("dsacap-rl", 0)]
    for wrong in (
        {"ar": [1]},
        {"ar": [0, 3]},
        {**given, "dsacap-rl": [0, 1]},
        {**given, "dsacap-rl": None},
    ):
        with pytest.raises(UserError, match=r"seeds: must contain 0, the first"):
            runs(**wrong)


def test_folders_follow_the_settings_that_decide_their_content(tmp_path):
    """A changed setting moves the stages that depend on it, and no other."""

    def folders(**changes):
        layout = Layout(tiny_config(tmp_path, **changes))
        return {"data": layout.data, "encoder": layout.encoder, "features": layout.features} | {
            "generator": layout.generator,
            "ar": layout.system("ar", 0),
            "rl": layout.system("dsacap-rl", 0),
        }

    plain = folders()

    def moved(**changes) -> set[str]:
        return {stage for stage, folder in folders(**changes).items() if folder != plain[stage]}

    assert moved() == set()
    assert moved(dataset={"kind": "scenes", "train": 25, "val": 6, "test": 6}) == {
        "data",
        "encoder",
        "features",
        "generator",
        "ar",
        "rl",
    }
    assert moved(encoder={"train": {"steps": 3, "batch_size": 8}, "shard_size": 20}) == {
        "encoder",
        "features",
        "generator",
        "ar",
        "rl",
    }
    assert moved(training={"steps": 13}) == {"ar", "rl"}
    assert moved(generator={"train": {"steps": 4}}) == {"generator", "rl"}
    assert moved(timing={"iterations": 4}) == set()
    assert moved(results=str(tmp_path / "elsewhere")) == set()


def test_yaml_that_parsers_misread_is_refused(tmp_path):
    """These cases were found by tests/faults/test_malformed.py."""
    sound = (FOLDER / "coco.yaml").read_text()
    bomb = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghi")
    )
    spoilt = {
        "name: twice\n" + sound: "duplicate key 'name'",
        bomb + sound: "expanding aliases of aliases",
        "a: &a [*a]\n" + sound: "expanding aliases of aliases",
        sound + "\nnote: 2001-99-99\n": "cannot be read as YAML",
        sound + "\nnote: !!bool x\n": "cannot be read as YAML",
        "[" * 5000: "cannot be read as YAML",
    }
    for text, message in spoilt.items():
        (tmp_path / "spoilt.yaml").write_text(text)
        with pytest.raises(UserError, match=r"spoilt\.yaml") as error:
            load_config(tmp_path / "spoilt.yaml")
        assert message in str(error.value)


@pytest.mark.parametrize("value", [True, "40", 40.0, 0.5, float("nan"), float("inf")])
def test_other_types_are_not_converted_to_numbers(value):
    with pytest.raises(UserError, match=r"training\.steps"):
        parse_config(changed("training.steps", value), "here.yaml")


@pytest.mark.parametrize("value", [True, "32"])
def test_nor_are_they_in_a_captioners_own_options(value):
    with pytest.raises(UserError, match=r"systems\.ar\.model\.width"):
        parse_config(changed("systems.ar.model.width", value), "here.yaml")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_learning_rate_must_be_finite(value):
    with pytest.raises(UserError, match=r"training\.learning_rate"):
        parse_config(changed("training.learning_rate", value), "here.yaml")


def test_a_system_is_tuned_in_the_precision_and_with_the_average_that_it_was_trained_with():
    settings = changed("systems.dsacap.training", {"ema": 0.9, "precision": "bf16"})
    inherited = parse_config(settings, "here").training_of("dsacap-rl")
    assert (inherited.ema, inherited.precision) == (0.9, "bf16")
    settings["systems"]["dsacap-rl"]["tuning"]["ema"] = 0.0
    own = parse_config(settings, "here").training_of("dsacap-rl")
    assert (own.ema, own.precision) == (0.0, "bf16")
