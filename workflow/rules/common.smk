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
    from dsacap.runs.layout import HUMAN, Layout, diversity_plot_of
    from dsacap.runs.stage_files import planned_files
    from dsacap.runs.stage_table import STAGES
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error}. Use the Snakemake that `make setup` installs: . .venv/bin/activate"
    ) from None

# `--configfile` is merged over keys that are loaded already, so the default is loaded only if the
# user gave no data set.
if "dataset" not in config:

    configfile: "config/scenes.yaml"


# Within `--config key={...}`, Snakemake takes every value for text, numbers too.
def typed(value):
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return [typed(item) for item in value] if isinstance(value, list) else yaml.safe_load(value)


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

# The configuration that the verbs read: merged with --config, and rewritten only when it changes.
# Those of the ablation and of trials have names of their own, so that they do not replace the one of
# the table, whose rows they share.
additions = [name for name in ("ablation", "trials") if getattr(settings, name)]
CONFIG = layout.root / ("-".join(["config", *additions]) + ".yaml")
resolved = yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True), sort_keys=False)
if not CONFIG.exists() or CONFIG.read_text() != resolved:
    write_text(CONFIG, resolved)


# Two runs would remove each other's files, since Snakemake deletes the outputs of a job that it
# starts.
onstart:
    try:
        claim(layout.root)
    except UserError as error:
        raise WorkflowError(str(error)) from None


# A job takes a GPU if it would use one; on a machine without, rows train at the same time. On the
# login node of a cluster, set `device: cuda`.
GPUS = int(device_of(settings.device).type == "cuda")

# Rules find the `dsacap` of this Snakemake's environment, even if that is not activated.
os.environ.update(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.getenv('PATH')}")


def any_of(names):
    """A regular expression that matches any of `names`, or nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    system=any_of(settings.systems),
    seed=r"\d+",
    key="[0-9a-f]{8}",
    file="[0-9a-f]{8}",


def has_weights(system, seed):
    """Whether a row has weights or will have some; a restored row has captions only."""
    return (layout.system(system, seed) / "model.safetensors").exists() or not layout.captions(
        system, seed
    ).exists()


def generators():
    """The generators of captioners and judge: (prefix of rule names, option of the verb, layout)."""
    parts = [("", "", layout)] if settings.generator else []
    return [*parts, *([("judge_", "--judge", layout.judge)] if settings.judge else [])]


def each(folder):
    """The same for everything that encodes photos, so that each `folder` occurs once.

    These are the captioners, the judge, and generators that compare pictures by an encoder of their
    own. `folder` is "encoder" or "features".
    """
    encoding = [("", "", layout)]
    for prefix, option, place in generators():
        encoding += [(prefix, option, place), (f"{prefix}sight_", f"{option} --sight", place.sight)]
    return {
        getattr(place, folder): (prefix, option, place)
        for prefix, option, place in reversed(encoding)
    }.values()


def stages_here():
    """The stages whose section the configuration has."""
    sections = (stage.section for stage in STAGES.values())
    given = {None, *(name for name in sections if name and getattr(settings, name))}
    return [stage for stage in STAGES.values() if stage.section in given]


def parts_of(stage):
    """The layouts for which a stage of the whole configuration runs, as `each` gives them."""
    if stage.verb == "generator":
        return generators()
    return each(stage.verb) if stage.options else [("", "", layout)]


def rule_of(stage):
    return stage.verb.replace("-", "_")


def lies_with_its_row(stage, row):
    """Whether a stage writes to the folder of a trained row, as most stages of a row do."""
    folder, place = layout.system(*row), stage.place(layout, *row)
    return folder in (place, *place.parents)


def rows_by_wildcards(stage):
    """The trained rows of a stage: they share a rule."""
    rows = stage.rows(layout) if stage.rows else []
    return [row for row in rows if row in layout.runs and lies_with_its_row(stage, row)]


def jobs_of_trials():
    """(rule, stage, options of its verb, layout, row) of trials, as `jobs_by_name` has them."""
    made = set()  # trials of decodings share a training
    for (system, seed), trial in layout.trials:
        tried = layout.tried(system, trial)
        for verb in ("train", "score-validation"):
            stage, row = STAGES[verb], (system, seed)
            place = stage.place(tried, *row)
            weights = tried.system(*row) / "model.safetensors"
            # A trial that was restored has its scores only, and is not trained again.
            is_restored = tried.validation(*row).exists() and not weights.exists()
            if place not in made and not is_restored:
                made.add(place)
                name = f"{rule_of(stage)}_{system}_{trial}"
                yield name, stage, f"--system {system} --seed {seed} --trial {trial}", tried, row


def jobs_by_name():
    """(rule, stage, options of its verb, layout, row) of all others: each has a rule of its own."""
    yield from jobs_of_trials()
    for stage in stages_here():
        if stage.rows is None:
            for prefix, option, place in parts_of(stage):
                yield f"{prefix}{rule_of(stage)}", stage, option, place, None
            continue
        made = set()  # students of one teacher share its captions: one job makes them
        for row in stage.rows(layout):
            place = stage.place(layout, *row)
            if row in rows_by_wildcards(stage) or place in made:
                continue
            made.add(place)
            system, seed = row
            name, options = f"{rule_of(stage)}_{system}", f"--system {system}"
            if stage.verb == "checkpoint":
                options = f"--row {system}"
            elif system in settings.systems:
                name, options = f"{name}_{seed}", f"{options} --seed {seed}"
            yield name, stage, options, layout, row


# Files of a trained row. Working checkpoints are not declared as outputs: Snakemake deletes the
# outputs of a failed rule, and a training that was killed must find its checkpoint again.
ROW = f"{layout.root}/{{system}}-seed{{seed}}-{{key}}"


def pattern(path, row):
    """A file of a trained row, with wildcards for system, seed and keys."""
    place = path.relative_to(layout.system(*row)).as_posix()
    name = re.sub(r"-[0-9a-f]{8}\b", "-{file}", place)
    return f"{ROW}/{name}"


def checked_before(row):
    """Weights that a training waits for: those of rows that are compared with what is expected.

    It does not read them, so newer ones are no reason to train again.
    """
    first = [] if row in layout.checked_first else layout.checked_first
    return [
        ancient(layout.system(*other) / "model.safetensors")
        for other in first
        if has_weights(*other)
    ]


def needed_by(verb):
    """A function from wildcards to what a stage of a trained row reads."""

    def needed(wildcards):
        row = wildcards.system, int(wildcards.seed)
        # A row that was restored has its captions only, and needs no weights.
        if verb in ("caption", "complete") and not has_weights(*row):
            return []
        waits_for = checked_before(row) if verb == "train" else []
        return [*planned_files(layout, verb, row)[0], *waits_for]

    return needed


# The longest chain begins at the generator: tuning, captions and scores wait for it. Trainings come
# before captions and scores, or the longest job would be left for last.
PRIORITIES = {"generator": 2, "tune": 2, "train": 1, "teach": 1}


def threads_of(stage, place):
    """The cores that a stage uses. While time is measured, nothing else may run."""
    if stage.verb == "time":
        return workflow.cores
    reads_photos = stage.verb in ("features", "pixels")
    return 1 + place.config.encoder.workers if reads_photos else processes_of(stage)


def processes_of(stage):
    return settings.processes if stage.verb in ("train", "tune") else 1


def gpus_of(stage):
    """The GPUs that a job of a stage asks for. Other stages name none, not 0, in a cluster's queue."""
    return {"gpu": GPUS * processes_of(stage)} if stage.on_gpu else {}


def downloads():
    return {} if isinstance(settings.dataset, Scenes) else settings.dataset.downloads
