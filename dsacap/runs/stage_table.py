"""The table of stages: what each one is called, reads, writes and runs.

The command line, the keys of work folders, manifests, the checks of what was changed since, and the
Snakemake rules take it from here. A new stage is one module with a function and one entry below.
It imports nothing but the standard library and stage.py, so that `dsacap --help` answers at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dsacap.runs.stage import Row, Stage

if TYPE_CHECKING:
    from dsacap.runs.layout import Layout

HUMAN = "human"  # the system whose captions are the references themselves
_INDEX = "index.json"


def _read_by_encoder(layout: "Layout") -> list[Path]:
    encoder = layout.config.encoder
    if encoder.autoencoder:
        return [*_prepared(layout)[:1], *_drawn(layout)]
    return _prepared(layout)[:1] if encoder.train else []


def _prepared(layout: "Layout") -> list[Path]:
    """Captions of all splits, and the vocabulary."""
    return [layout.data / "captions.jsonl", layout.data / "vocabulary.json"]


def _drawn(layout: "Layout") -> list[Path]:
    """Pictures that were generated here, and what is on them."""
    is_drawn = layout.config.dataset.kind == "scenes"
    return [layout.data / "scenes.json", layout.data / "images/*"] if is_drawn else []


def _seen(layout: "Layout", system: str) -> list[Path]:
    """Captions, words and features that a system gets; pixels too, if it has its own encoder."""
    pixels = [layout.pixels / _INDEX] if layout.config.sees_pixels(system) else []
    return [*_prepared(layout), layout.features / _INDEX, *pixels]


def _weights(folder: Path) -> Path:
    return folder / "**/*.safetensors"


def _model(layout: "Layout", system: str, seed: int) -> Path:
    return layout.system(system, seed) / "model.safetensors"


def _captioned(layout: "Layout", system: str, seed: int) -> list[Path]:
    """What scores of captions are computed from; the human ones are among the prepared captions."""
    captions = [layout.data / "captions.jsonl", *_drawn(layout)]
    if system in layout.config.predictions:
        return [*captions, layout.predictions(system)]
    return captions if system == HUMAN else [*captions, layout.captions(system, seed)]


def _sources(layout: "Layout") -> list[Path]:
    """Captions that the user brings; the photos' hashes are those of the features."""
    dataset = layout.config.dataset
    return [] if dataset.kind == "scenes" else dataset.caption_files


def _photos(layout: "Layout") -> list[Path]:
    """Photos that the user brings, if they are read."""
    dataset = layout.config.dataset
    if dataset.kind == "scenes" or not layout.config.reads_photos:
        return []
    return list(dataset.images.values())


def _read_by_training(layout: "Layout", system: str, seed: int) -> list[Path]:
    distilled = layout.config.systems[system].distilled_from
    return [*_seen(layout, system), *([layout.lessons(system, seed)] if distilled else [])]


def _read_by_teacher(layout: "Layout", system: str, seed: int) -> list[Path]:
    teacher = layout.config.teacher_of(system).system
    return [*_seen(layout, teacher), _model(layout, teacher, seed)]


def _read_by_tuning(layout: "Layout", system: str, seed: int) -> list[Path]:
    config = layout.config
    judges = [_weights(layout.generator)] if config.tuning_of(system).reconstructs else []
    return [*_seen(layout, system), _model(layout, config.base_of(system), seed), *judges]


def _read_by_decoding(layout: "Layout", system: str, seed: int) -> list[Path]:
    return [*_seen(layout, system), _model(layout, system, seed)]


def _read_by_judges(layout: "Layout", system: str, seed: int) -> list[Path]:
    generators = [_weights(place.generator) for place in (layout, layout.judge)]
    return [*_captioned(layout, system, seed), *generators]


def _read_by_clock(layout: "Layout") -> list[Path]:
    systems, seed = layout.config.systems, layout.config.seeds[0]
    seen = dict.fromkeys(path for system in systems for path in _seen(layout, system))
    return [*seen, *(_model(layout, system, seed) for system in systems)]


def _rows_where(condition: Callable[["Layout", str], bool]) -> Callable[["Layout"], list[Row]]:
    """The trained rows of the systems for which a condition holds."""
    return lambda layout: [row for row in layout.runs if condition(layout, row[0])]


STAGES: dict[str, Stage] = {
    stage.verb: stage
    for stage in (
        Stage(
            "data",
            1,
            "generate or load captions and photos, check them, and tokenise the captions",
            "dsacap.stages.data:make_data",
            place=lambda layout: layout.data,
            reads=_sources,
            writes=lambda layout: [*_prepared(layout), *_drawn(layout)],
            waits_for=_photos,
            without_networks=True,
        ),
        Stage(
            "encoder",
            1,
            "train the tiny CLIP or an autoencoder, or check that the named encoder can be loaded",
            "dsacap.stages.encoder:make_encoder",
            place=lambda layout: layout.encoder,
            reads=_read_by_encoder,
            writes=lambda layout: [_weights(layout.encoder)],
            options=("judge", "sight"),
            code=("dsacap.vision.encoders.load",),
        ),
        Stage(
            "features",
            1,
            "encode every photo once",
            "dsacap.stages.features:make_features",
            place=lambda layout: layout.features,
            reads=lambda layout: [
                *_prepared(layout)[:1],
                *_drawn(layout),
                _weights(layout.encoder),
            ],
            writes=lambda layout: [
                layout.features / _INDEX,
                layout.features / "statistics.safetensors",
            ],
            options=("judge", "sight"),
            on_gpu=True,
            code=("dsacap.vision.encoders.load",),
        ),
        Stage(
            "degrade",
            1,
            "degrade the test photos and encode them, for the robustness table",
            "dsacap.stages.degrade:degrade_photos",
            place=lambda layout: layout.degraded,
            reads=lambda layout: [
                *_prepared(layout)[:1],
                *_drawn(layout),
                _weights(layout.encoder),
                layout.features / "statistics.safetensors",
            ],
            writes=lambda layout: [
                layout.degraded_as(*how) / _INDEX for how in layout.config.robustness.degradations
            ],
            on_gpu=True,
            code=("dsacap.vision.encoders.load",),
        ),
        Stage(
            "pixels",
            1,
            "store every photo as the encoder sees it, for systems that train their encoder too",
            "dsacap.stages.pixels:make_pixels",
            place=lambda layout: layout.pixels,
            reads=lambda layout: [*_prepared(layout)[:1], *_drawn(layout)],
            writes=lambda layout: [layout.pixels / _INDEX],
            code=("dsacap.vision.encoders.load",),
        ),
        Stage(
            "generator",
            2,
            "train or load the caption-to-image generator, and measure how well it judges captions",
            "dsacap.stages.generator:make_generator",
            place=lambda layout: layout.generator,
            reads=lambda layout: [*_prepared(layout), layout.sight.features / _INDEX],
            writes=lambda layout: [_weights(layout.generator)],
            options=("judge",),
            on_gpu=True,
        ),
        Stage(
            "teach",
            None,
            "caption the train split by the teacher of a distilled system",
            "dsacap.stages.teach:teach",
            place=lambda layout, system, seed: layout.lessons(system, seed),
            reads=_read_by_teacher,
            rows=_rows_where(lambda layout, name: bool(layout.config.systems[name].distilled_from)),
            on_gpu=True,
        ),
        Stage(
            "train",
            1,
            "train one system",
            "dsacap.stages.train:train_system",
            place=lambda layout, system, seed: layout.system(system, seed),
            reads=_read_by_training,
            writes=lambda layout, system, seed: [_model(layout, system, seed)],
            rows=_rows_where(lambda layout, name: not layout.config.systems[name].tuned_from),
            options=("dry-run", "trial"),
            on_gpu=True,
        ),
        Stage(
            "tune",
            1,
            "tune a trained system by its rewards",
            "dsacap.stages.tune:tune_system",
            place=lambda layout, system, seed: layout.system(system, seed),
            reads=_read_by_tuning,
            writes=lambda layout, system, seed: [_model(layout, system, seed)],
            rows=_rows_where(lambda layout, name: bool(layout.config.systems[name].tuned_from)),
            options=("dry-run",),
            on_gpu=True,
        ),
        Stage(
            "checkpoint",
            1,
            "caption the test photos by a published checkpoint; resumes where it was stopped",
            "dsacap.stages.checkpoint:caption_by_checkpoint",
            place=lambda layout, system, seed: layout.predictions(system),
            reads=lambda layout, system, seed: _prepared(layout)[:1],
            rows=lambda layout: [
                (name, 0) for name, given in layout.config.predictions.items() if given.checkpoint
            ],
            on_gpu=True,
            code=("dsacap.baselines.pretrained",),
        ),
        Stage(
            "caption",
            2,
            "caption the test split by all decodings of a system",
            "dsacap.stages.caption:caption_split",
            place=lambda layout, system, seed: layout.captions(system, seed),
            reads=_read_by_decoding,
            rows=lambda layout: layout.runs,
            on_gpu=True,
        ),
        Stage(
            "complete",
            1,
            "have a system continue right and wrong beginnings of captions",
            "dsacap.stages.complete:complete_captions",
            place=lambda layout, system, seed: layout.completions(system, seed),
            reads=_read_by_decoding,
            rows=_rows_where(lambda layout, name: name in layout.completed),
            section="ablation",
            on_gpu=True,
        ),
        Stage(
            "inspect",
            1,
            "record the inside of a system: the denoised image, the graph and its best path",
            "dsacap.stages.inspect_system:inspect_system",
            place=lambda layout, system, seed: layout.inside(system, seed),
            reads=_read_by_decoding,
            rows=lambda layout: layout.inspected,
            on_gpu=True,
        ),
        Stage(
            "score",
            6,
            "score a system's captions",
            "dsacap.stages.score:score_system",
            place=lambda layout, system, seed: layout.scores(system, seed),
            reads=_captioned,
            rows=lambda layout: [
                *layout.runs,
                *((name, 0) for name in (HUMAN, *layout.config.predictions)),
            ],
            code=("dsacap.scoring.java.jvm_worker",),  # a program of its own
            without_networks=True,
        ),
        Stage(
            "score-samples",
            None,
            "score all captions drawn by a system: AllSPICE and the best of k by SPICE; 40 ms each",
            "dsacap.stages.score_samples:score_system_samples",
            place=lambda layout, system, seed: layout.sample_scores(system, seed),
            reads=_captioned,
            rows=lambda layout: layout.runs,
            without_networks=True,
        ),
        Stage(
            "score-degraded",
            1,
            "caption and score degraded test photos by a system's first decoding",
            "dsacap.stages.score_degraded:score_degraded",
            place=lambda layout, system, seed: layout.robustness(system, seed),
            reads=lambda layout, system, seed: [
                *_read_by_decoding(layout, system, seed),
                *_drawn(layout),
                *(
                    layout.degraded_as(*how) / _INDEX
                    for how in layout.config.robustness.degradations
                ),
            ],
            rows=lambda layout: layout.degradable,
            on_gpu=True,
        ),
        Stage(
            "score-validation",
            1,
            "caption the validation split by all decodings of a system, and compute CIDEr",
            "dsacap.stages.score_validation:score_validation",
            place=lambda layout, system, seed: layout.validation(system, seed),
            reads=_read_by_decoding,
            rows=lambda layout: layout.runs,
            options=("trial",),
            on_gpu=True,
        ),
        Stage(
            "reconstruct",
            2,
            "measure how well captions reconstruct originals (`--system human`: references)",
            "dsacap.stages.reconstruct:reconstruct_captions",
            place=lambda layout, system, seed: layout.reconstructions(system, seed),
            reads=_read_by_judges,
            rows=lambda layout: [*layout.runs, (HUMAN, 0)],
            section="judge",
            on_gpu=True,
        ),
        Stage(
            "time",
            3,
            "measure the latency of all systems",
            "dsacap.stages.latency:time_systems",
            place=lambda layout: layout.latency,
            reads=_read_by_clock,
            on_gpu=True,
            code=("dsacap.timing.worker_process",),  # a program of its own
        ),
    )
}

VERSIONS = {verb: stage.version for verb, stage in STAGES.items() if stage.version is not None}
