"""Configuration and paths, for all rules."""

import os
import sys
from pathlib import Path

import yaml

try:
    from dsacap.common.errors import UserError
    from dsacap.common.files import write_text
    from dsacap.common.locks import claim
    from dsacap.common.machine import device_of
    from dsacap.config.dataset import Scenes
    from dsacap.config.experiment import parse_config
    from dsacap.runs.layout import HUMAN, Layout, manifest_of
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}. Use the Snakemake that `make setup` installs beside it: . .venv/bin/activate"
    ) from None

# `--configfile` merges over keys that are loaded already, so the default is loaded only where no data set was given.
if "dataset" not in config:

    configfile: "config/scenes.yaml"


# Of `--config key={...}`, Snakemake takes what is within for text, numbers too.
def typed(value):
    if isinstance(value, dict):
        return {key: typed(of) for key, of in value.items()}
    return [typed(of) for of in value] if isinstance(value, list) else yaml.safe_load(value)


nested = {
    key: value
    for key, value in workflow.config_settings.config.items()
    if key in config and isinstance(value, dict | list)
}
snakemake.utils.update_config(config, typed(nested))


try:
    settings = parse_config(config, "configuration")
except UserError as error:
    raise WorkflowError(str(error)) from None

layout = Layout(settings)

# What the verbs read: the configuration as merged with --config. Rewritten only when it changes. The ablation's is another one, so that it
# does not displace that of the table, whose rows it shares.
CONFIG = layout.root / ("config-ablation.yaml" if settings.ablation else "config.yaml")
resolved = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False)
if not CONFIG.exists() or CONFIG.read_text() != resolved:
    write_text(CONFIG, resolved)


# Two runs would remove each other's files: Snakemake does so with the outputs of a job that it begins.
onstart:
    try:
        claim(layout.root)
    except UserError as error:
        raise WorkflowError(str(error)) from None


# A job takes a GPU where it would use one; on a machine without, rows train side by side. (A cluster's login node: say device: cuda.)
GPUS = int(device_of(settings.device).type == "cuda")

# Rules find the `dsacap` that is installed beside this Snakemake, whether or not its environment is activated.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.getenv('PATH')}")


def any_of(names):
    """A regular expression of `names`; one that nothing matches where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    system=any_of(settings.systems),
    seed=r"\d+",
    key="[0-9a-f]{8}",


def has_weights(system, seed):
    """Whether a row has weights, or will: one that was restored has its captions alone, and needs none."""
    return (layout.system(system, seed) / "model.safetensors").exists() or not layout.captions(
        system, seed
    ).exists()


def trained(wildcards):
    """The weights of a row: the folder's hash follows from system and seed."""
    run = (wildcards.system, int(wildcards.seed))
    return [layout.system(*run) / "model.safetensors"] if has_weights(*run) else []


def distilled():
    """(system, seed) of the rows that learn from another's captions."""
    return [run for run in layout.runs if settings.systems[run[0]].distilled_from]


def lessons(wildcards):
    """What a distilled system learns from; of others, nothing."""
    run = (wildcards.system, int(wildcards.seed))
    return [layout.lessons(*run)] if run in distilled() else []


def looked_at(wildcards):
    """The pixels, where a row has an encoder of its own."""
    return [layout.pixels / "index.json"] if settings.sees_pixels(wildcards.system) else []


def trained_before(wildcards):
    """The weights and facts of the system that a row is tuned from."""
    folder = layout.system(settings.systems[wildcards.system].tuned_from, int(wildcards.seed))
    return folder / "model.safetensors", manifest_of(folder)


def judged_by(wildcards):
    """The generator, where a row is rewarded for reconstruction."""
    return (
        [manifest_of(layout.generator)]
        if settings.systems[wildcards.system].tuning.reconstructs
        else []
    )


def captioned(wildcards):
    return layout.captions(wildcards.system, int(wildcards.seed))


def source_files():
    """What the user brings or a download yields; scenes are made from nothing."""
    return (
        []
        if isinstance(settings.dataset, Scenes)
        else [*settings.dataset.caption_files, *settings.dataset.images.values()]
    )


def generators():
    """(prefix of rule names, option of the verb, layout) of the captioners' generator and of the judge's."""
    parts = [("", "", layout)] if settings.generator else []
    return [*parts, *([("judge_", "--judge", layout.judge)] if settings.judge else [])]


def each(folder):
    """The same of all that look at photos, so that each `folder` ("encoder" or "features") of theirs comes once: the captioners, the
    judge, and generators that compare pictures in the tokens of an encoder of their own."""
    looking = [("", "", layout)]
    for prefix, option, place in generators():
        looking += [(prefix, option, place), (f"{prefix}sight_", f"{option} --sight", place.sight)]
    return {
        getattr(place, folder): (prefix, option, place)
        for prefix, option, place in reversed(looking)
    }.values()


def downloads():
    return {} if isinstance(settings.dataset, Scenes) else settings.dataset.downloads
