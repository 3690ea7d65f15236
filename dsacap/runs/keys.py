"""The keys in the names of folders and files: hashes of all that decides their content."""

import hashlib
import json
from typing import Any

from dsacap.captioner.registry import captioner_class, release_of
from dsacap.config.dataset import Scenes
from dsacap.config.encoder import Sight
from dsacap.config.experiment import Config
from dsacap.data.scenes import generate as scenes
from dsacap.runs.stage_table import VERSIONS


def key(stage: str, *parts: Any) -> str:
    """Return the key of what a stage writes.

    Args:
        stage: The stage, whose version counts too.
        parts: All that decides what it writes: keys of other stages, sections of the configuration
            and plain values. A section counts without its default values, so that a new option
            leaves every key as it is until somebody uses it. A changed default has to raise the
            version of the stage instead.

    Returns:
        Eight hexadecimal digits.
    """
    text = json.dumps([stage, VERSIONS[stage], *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    return (
        value.model_dump(mode="json", exclude_defaults=True)
        if hasattr(value, "model_dump")
        else str(value)
    )


def with_encoder_of_generator(config: Config) -> Config:
    """Return the configuration with the encoder in whose space generated pictures are compared.

    It is the same configuration if the generator compares pictures by the captioners' encoder.
    """
    generator = config.generator
    if generator is None or generator.encoder is None:
        return config
    return config.model_copy(update={"encoder": generator.encoder})


class Keys:
    """The keys of the stages of a configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def data(self) -> str:
        """Key of the stage `data`."""
        version = scenes.VERSION if isinstance(self.config.dataset, Scenes) else ""
        return key("data", self.config.dataset, self.config.text.min_count, version)

    @property
    def encoder(self) -> str:
        """Key of the stage `encoder`."""
        encoder = self.config.encoder
        if encoder.train:
            return key("encoder", encoder.train, self.data, *self._arithmetic)
        if encoder.autoencoder:
            return key("encoder", "autoencoder", encoder.autoencoder, self.data, *self._arithmetic)
        if encoder.features:
            return key("encoder", "features", encoder.features)
        others = encoder.beside if isinstance(encoder, Sight) else ()
        return key("encoder", encoder.name, encoder.pretrained, encoder.sha256, *others)

    @property
    def features(self) -> str:
        """Key of the stage `features`."""
        encoder = self.config.encoder
        written = encoder.model_dump(include={"dtype", "views"}, exclude_defaults=True)
        return key(
            "features",
            self.data,
            self.encoder,
            encoder.grid,
            encoder.shard_size,
            encoder.on_bad_image,
            *([written] if written else []),
            *self._arithmetic,
        )

    @property
    def degraded(self) -> str:
        """Key of the stage `degrade`."""
        return key("degrade", self.features, self.config.robustness)

    @property
    def pixels(self) -> str:
        """Key of the stage `pixels`."""
        encoder = self.config.encoder
        return key("pixels", self.data, self.encoder, encoder.shard_size, encoder.on_bad_image)

    @property
    def generator(self) -> str:
        """Key of the stage `generator`."""
        features = Keys(with_encoder_of_generator(self.config)).features
        return key("generator", features, self.config.generator, self.config.text.max_words)

    @property
    def latency(self) -> str:
        """Key of the stage `time`."""
        systems = self.config.systems
        keys = [self.system(system, self.config.seeds[0]) for system in systems]
        decodings = {name: system.decodings for name, system in systems.items()}
        return key("time", keys, decodings, self.config.timing)

    def system(self, system: str, seed: int) -> str:
        """Return the key of a trained or tuned row."""
        settings = self.config.systems[system]
        validated_by = next(iter(settings.decodings.values()))
        training, parts = self.config.training_of(system), []
        if self._arithmetic:  # a batch that is divided differently gives other bytes
            parts = [f"{self.config.processes} processes"]
        else:  # like the number of processes, it changes a result by rounding only
            training = training.model_copy(update={"accumulate": 1})
        captioner = captioner_class(self.config.captioner_of(system))
        number = captioner.tuning_revision if settings.tuned_from else captioner.revision
        if number > 1:
            parts.append(f"revision {number}")
        pixels = [self.pixels] if training.fine_tune else []
        if settings.tuned_from:
            reconstructs = self.config.tuning_of(system).reconstructs
            return key(
                "tune",
                self.system(settings.tuned_from, seed),
                training,
                validated_by,
                self.generator if reconstructs else None,
                *pixels,
                *parts,
            )
        release = release_of(self.config.captioner_of(system))
        taught = [self.lessons(system, seed)] if settings.distilled_from else []
        return key(
            "train",
            self.features,
            settings.captioner,
            settings.model,
            training,
            validated_by,
            self.config.text.max_words,
            seed,
            *taught,
            *pixels,
            *([release] if release else []),
            *parts,
        )

    def lessons(self, system: str, seed: int) -> str:
        """Return the key of the captions that a distilled system learns from."""
        teacher = self.config.teacher_of(system)
        decoding = self.config.systems[teacher.system].decodings[teacher.decoding]
        return key(
            "caption", self.system(teacher.system, seed), decoding, self.config.decoding, "train"
        )

    def captions(self, system: str, seed: int) -> str:
        """Return the key of a row's captions."""
        decodings = self.config.systems[system].decodings
        return key("caption", self.system(system, seed), decodings, self.config.decoding)

    @property
    def _arithmetic(self) -> list[str]:
        """What portable arithmetic adds to keys: it promises the same bytes for a thread count.

        It is part of the keys of what torch computes first, the encoder and its features, and so of
        all others, which depend on these.
        """
        portable = self.config.arithmetic == "portable"
        return [f"portable, {self.config.threads} threads"] if portable else []
