"""Trials: other settings of a system, which are compared on the validation split.

Every system has the same number of trials, because the best of more trials scores higher.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from dsacap.common.errors import UserError
from dsacap.config.consistency import check_system
from dsacap.config.section import Section
from dsacap.config.sections import Name

if TYPE_CHECKING:
    from dsacap.config.experiment import Config


class Trial(Section):
    """The settings of a system that a trial changes; an empty trial is the system unchanged."""

    model: dict[str, Any] = Field({})
    training: dict[str, Any] = Field({})
    decoding: dict[str, Any] = Field(
        {},
        description="options added to those of the system's first decoding, which chooses the"
        " weights all the same, so that trials of decodings share a training",
    )

    @property
    def changes(self) -> dict[str, Any]:
        """All that it changes, by key."""
        return self.model | self.training | self.decoding


Trials = dict[Name, dict[Name, Trial]]
"""System -> its trials by name."""


def tried(config: "Config", system: str, name: str) -> "Config":
    """Return the configuration of a trial.

    Args:
        config: The configuration that has the trial.
        system: The system.
        name: The trial.

    Returns:
        The configuration with the changed system, and the systems that it learns from. Its
        decodings are its first one and, if the trial changes that, the changed one under the name
        of the trial.

    Raises:
        UserError: There is no such trial.
    """
    if name not in config.trials.get(system, {}):
        known = ", ".join(config.trials.get(system, {})) or "none"
        raise UserError(f"trials: {system} has no trial {name!r}; known: {known}")
    trial, settings = config.trials[system][name], config.systems[system]
    first, options = next(iter(settings.decodings.items()))
    changed = {name: {**options, **trial.decoding}} if trial.decoding else {}
    of_trial = settings.model_copy(
        update={
            "model": {**settings.model, **trial.model},
            "training": {**settings.training, **trial.training},
            "decodings": {first: options, **changed},
        }
    )
    sources = config.ancestors(system)
    systems = {key: value for key, value in config.systems.items() if key in sources}
    update: dict[str, Any] = {"trials": {}, "ablation": None, "predictions": {}}
    return config.model_copy(update={**update, "systems": {**systems, system: of_trial}})


def check_trials(config: "Config") -> None:
    """Check the trials of a configuration.

    Raises:
        ValueError: A trial belongs to no trained system, or changes a setting that its system
            does not have, or systems differ in their number of trials.
    """
    for system, of_system in config.trials.items():
        if system not in config.systems or config.systems[system].tuned_from:
            raise ValueError(f"trials.{system}: no trained system has this name")
        for name in of_system:
            try:
                check_system(tried(config, system, name), system)
            except ValueError as error:
                raise ValueError(f"trials.{system}.{name}: {error}") from None
    counts = {system: len(of_system) for system, of_system in config.trials.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{system} {count}" for system, count in counts.items())
        raise ValueError(
            f"trials: every system needs the same number of trials, but there are {listed}"
        )
