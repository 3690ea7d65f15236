"""Whether the parts of a configuration fit together.

Each check raises a ValueError that names the key, which pydantic reports with all others.
"""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from dsacap.captioner.registry import captioner_class
from dsacap.config.claims import AtSameDiversity
from dsacap.config.encoder import PATCHES
from dsacap.config.parsing import checked_options, decoding_of, message_of
from dsacap.config.sections import Row

if TYPE_CHECKING:
    from dsacap.config.experiment import Config


def check_consistency(config: "Config") -> None:
    """Raise a ValueError that names the key if parts of a configuration do not fit together."""
    for check in (_systems, _encoder_of_pictures, _portable, _predictions, _claims, _dials):
        check(config)


def _systems(config: "Config") -> None:
    for name in config.systems:
        check_system(config, name)


def _encoder_of_pictures(config: "Config") -> None:
    """Require an encoder where a generator's pictures are to be encoded."""
    for generator, encoder in (
        (owner.generator, owner.encoder) for owner in (config, config.judge) if owner
    ):
        if generator and generator.name and (generator.encoder or encoder).features:
            raise ValueError(
                "generator.encoder: pictures of a pipeline have to be encoded, and features"
                " alone cannot do that; name an encoder"
            )


def check_system(config: "Config", name: str) -> None:
    """Raise a ValueError that names the key if the settings of a system do not fit."""
    system = config.systems[name]
    if system.tuned_from and system.tuned_from not in config.systems:
        raise ValueError(f"systems.{name}.tuned_from: no system {system.tuned_from!r}")
    if config.trained(name).tuned_from:
        raise ValueError(
            f"systems.{name}.tuned_from: {system.tuned_from!r} is itself tuned; name a"
            " system that was trained"
        )
    if system.tuning and system.tuning.reconstructs and not config.generator:
        raise ValueError(
            f"systems.{name}.tuning.rewards: reconstruction and contrast need a generator section"
        )
    _check_teacher(config, name)
    _check_seeds(config, name)
    cls = captioner_class(config.captioner_of(name))
    model = checked_options(cls.Model, config.trained(name).model, f"systems.{name}.model")
    for decoding, options in system.decodings.items():
        decoding_of(cls, options, f"systems.{name}.decodings.{decoding}", model)
    try:
        config.training_of(name)
    except ValidationError as error:
        raise ValueError(message_of(error.errors()[0], f"systems.{name}.training")) from None
    given = config.encoder.name or "encoder.features"
    if config.sees_pixels(name) and (config.encoder.features or given.startswith(PATCHES)):
        raise ValueError(
            f"systems.{name}: fine_tune trains an encoder, but {given} has no weights;"
            " leave it out, or name another encoder"
        )


def _check_teacher(config: "Config", name: str) -> None:
    teacher = config.systems[name].distilled_from
    if teacher is None:
        return
    _check_row(config, teacher, f"systems.{name}.distilled_from")
    if config.trained(teacher.system).distilled_from:
        raise ValueError(
            f"systems.{name}.distilled_from: {teacher.system!r} is itself distilled; name a"
            " system that was trained on references"
        )


def _check_seeds(config: "Config", name: str) -> None:
    """Require the first seed, which is timed, and no seed that the system's source lacks."""
    system, seeds = config.systems[name], config.seeds_of(name)
    source = system.tuned_from or (system.distilled_from and system.distilled_from.system)
    known = config.seeds_of(source) if source else config.seeds
    if config.seeds[0] not in seeds or not set(seeds) <= set(known):
        raise ValueError(
            f"systems.{name}.seeds: must contain {config.seeds[0]}, the first seed, and may"
            f" contain only {', '.join(map(str, known))}"
        )


def _portable(config: "Config") -> None:
    """Refuse what portable arithmetic cannot cover: a GPU, compiled code and bf16."""
    if config.arithmetic == "portable":
        if config.device == "cuda":
            raise ValueError(
                "arithmetic: portable cannot be promised on a GPU; set device: cpu, or"
                " arithmetic: fast"
            )
        for name in config.systems:
            training = config.training_of(name)
            if training.compile or training.precision != "fp32":
                key = "compile" if training.compile else "precision"
                raise ValueError(
                    f"arithmetic: portable cannot be combined with training.{key} of"
                    f" systems.{name}; leave one of them out"
                )


def _predictions(config: "Config") -> None:
    for name in config.predictions:
        if name in config.systems or name == "human":
            raise ValueError(
                f"predictions.{name}: another row has this name; choose a different one"
            )


def _claims(config: "Config") -> None:
    if config.judge and not config.generator:
        raise ValueError(
            "ablation.judge: needs a generator section, because reconstructions are compared by"
            " that generator and by the judge's"
        )
    if config.ablation and config.ablation.compares_reconstructions and not config.judge:
        raise ValueError(
            "ablation.claims: claims on reconstructions need a judge; add ablation.judge, or"
            " leave these claims out"
        )
    for name, claim in config.ablation.claims.items() if config.ablation else ():
        for test in claim.tests:
            for row in test.rows:
                _check_row(config, row, f"ablation.claims.{name}")
            size = getattr(test, "batch_size", None)
            if size is not None and size not in config.timing.batch_sizes:
                raise ValueError(
                    f"ablation.claims.{name}.batch_size: {size} is not timed; choose one of"
                    f" timing.batch_sizes, {', '.join(map(str, config.timing.batch_sizes))}"
                )


def _dials(config: "Config") -> None:
    """Require rows for dials, and one range of diversity for all systems and claims."""
    for _, dial in config.diversity.named_dials if config.diversity else ():
        for row in dial.rows:
            _check_row(config, row, f"diversity.dials.{dial.system}")
    for name, claim in config.ablation.claims.items() if config.ablation else ():
        for test in claim.tests:
            between = test.between if isinstance(test, AtSameDiversity) else None
            if between and (config.diversity is None or between != config.diversity.between):
                raise ValueError(
                    f"ablation.claims.{name}.between: must be diversity.between, the one range"
                    " over which systems are compared"
                )


def _check_row(config: "Config", row: Row, where: str) -> None:
    if row.system not in config.systems or row.decoding not in config.systems[row.system].decodings:
        raise ValueError(f"{where}: no row {row.system!r}, {row.decoding!r}")
