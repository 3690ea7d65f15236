"""Where each stage keeps its files: one folder a stage, named by a hash of all that decides its content.

A changed setting leads to new folders and leaves the old ones alone, so nothing stale is ever read, going back costs nothing, and a
killed training finds its checkpoints again. The Snakefile and the command line share this file.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from dsacap.captioner.registry import captioner_class, release_of
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.config.sections import Sight
from dsacap.data.scenes import generate as scenes
from dsacap.runs.stage_table import HUMAN, VERSIONS

ENCODER = "encoder"  # the system that all others share, where time is measured
PREDICTIONS = "predictions"  # replaces the name of a decoding where captions come from a file


class Layout:
    def __init__(self, config: Config):
        self.config = config
        self.root = config.work / config.name

    # ------------------------------------------------------------------------------------------------------- shared stages

    @property
    def data(self) -> Path:
        return self.root / f"data-{self._data_key}"

    @property
    def photos(self) -> dict[str, Path]:
        """Folder or archive of photos of each source."""
        dataset = self.config.dataset
        if isinstance(dataset, Scenes):
            return {split: self.data / "images" / f"{split}.zip" for split in scenes.SPLITS}
        return dataset.images

    @property
    def encoder(self) -> Path:
        return self.root / f"encoder-{self._encoder_key}"

    @property
    def features(self) -> Path:
        return self.root / f"features-{self._features_key}"

    @property
    def pixels(self) -> Path:
        return self.root / f"pixels-{self._pixels_key}"

    @property
    def generator(self) -> Path:
        return self.root / f"generator-{self._generator_key}"

    @property
    def sight(self) -> "Layout":
        """The same data, seen as the generator compares pictures: by an encoder of its own, or by that of the captioners."""
        generator = self.config.generator
        if generator is None or generator.encoder is None:
            return self
        return Layout(self.config.model_copy(update={"encoder": generator.encoder}))

    @property
    def judge(self) -> "Layout":
        """The same data with the encoder and the generator of the judge."""
        judge = self.config.judge
        return Layout(
            self.config.model_copy(update={"encoder": judge.encoder, "generator": judge.generator})
        )

    @property
    def latency(self) -> Path:
        keys = [self._system_key(system, self.config.seeds[0]) for system in self.config.systems]
        decodings = {name: system.decodings for name, system in self.config.systems.items()}
        return self.root / f"latency-{_key('time', keys, decodings, self.config.timing)}.json"

    # ------------------------------------------------------------------------------------------------------- one row's stages

    def system(self, system: str, seed: int) -> Path:
        """The folder of one trained system."""
        return self.root / f"{system}-seed{seed}-{self._system_key(system, seed)}"

    def lessons(self, system: str, seed: int) -> Path:
        """What the teacher of a distilled system says of the train images."""
        teacher = self.config.systems[system].distilled_from.system
        return self.system(teacher, seed) / f"lessons-{self._lessons_key(system, seed)}.json"

    def captions(self, system: str, seed: int) -> Path:
        return self.system(system, seed) / f"captions-{self._captions_key(system, seed)}.json"

    def scores(self, system: str, seed: int) -> Path:
        if system == HUMAN:
            return (
                self.root
                / f"{HUMAN}-{_key('score', self._data_key, self.config.scoring)}"
                / "scores.json"
            )
        if system in self.config.predictions:
            key = _key("score", self._data_key, self.predictions(system), self.config.scoring)
            return self.root / f"{system}-{key}" / "scores.json"
        return (
            self.system(system, seed)
            / f"scores-{_key('score', self._captions_key(system, seed), self.config.scoring)}.json"
        )

    def predictions(self, row: str) -> Path:
        """The captions of a row that was not trained here: the user's file, or what a published checkpoint says."""
        brought = self.config.predictions[row]
        return (
            brought.file
            or self.root
            / f"{row}-{_key('checkpoint', self._data_key, brought.checkpoint)}"
            / "captions.json"
        )

    def sample_scores(self, system: str, seed: int) -> Path:
        """AllSPICE and what else is costly."""
        key = _key("score", self._captions_key(system, seed))
        return self.system(system, seed) / f"sample-scores-{key}.json"

    def reconstructions(self, system: str, seed: int) -> Path:
        """How well originals come back from captions."""
        judged_by = [self._generator_key, self.judge._generator_key]
        if system == HUMAN:
            return (
                self.root
                / f"{HUMAN}-{_key('reconstruct', self._data_key, *judged_by)}"
                / "reconstructions.json"
            )
        return (
            self.system(system, seed)
            / f"reconstructions-{_key('reconstruct', self._captions_key(system, seed), *judged_by)}.json"
        )

    def inside(self, system: str, seed: int) -> Path:
        """What goes on inside a system while it captions."""
        return (
            self.system(system, seed)
            / f"inside-{_key('inspect', self._captions_key(system, seed), self.config.inspection)}.json"
        )

    def of_captions(self, stage: str, system: str, seed: int) -> Path:
        """Return the file that a stage without settings makes of a row's captions."""
        key = _key(stage, self._captions_key(system, seed))
        return self.system(system, seed) / f"{stage}-{key}.json"

    @property
    def inspected(self) -> list[tuple[str, int]]:
        """(system, first seed) of the systems that can show their inside."""
        config = self.config
        return [
            (name, config.seeds[0])
            for name in config.systems
            if captioner_class(config.trained(name).captioner).inspects
        ]

    def completions(self, system: str, seed: int) -> Path:
        """How captions go on from right and wrong beginnings."""
        key = _key(
            "complete", self._system_key(system, seed), self.completed[system], self.config.decoding
        )
        return self.system(system, seed) / f"completions-{key}.json"

    @property
    def completed(self) -> dict[str, dict]:
        """System -> its decodings that a claim tests for recovery from a wrong beginning."""
        tested = self.config.ablation.decodings_tested("recovery") if self.config.ablation else {}
        return {
            system: {name: self.config.systems[system].decodings[name] for name in names}
            for system, names in tested.items()
        }

    @property
    def runs(self) -> list[tuple[str, int]]:
        """All trained (system, seed) pairs."""
        return [
            (system, seed)
            for system in self.config.systems
            for seed in self.config.seeds_of(system)
        ]

    @property
    def finished(self) -> list[tuple[str, int]]:
        """Those whose scores are there: all, where Snakemake asks for a table; fewer, where a user looks at one on the way."""
        return [run for run in self.runs if self.scores(*run).exists()]

    @property
    def table(self) -> Path:
        return self.config.results / "table.md"

    @property
    def published(self) -> Path:
        """The folder of what is committed, tables and captions: of the configuration's name, in the folder of the results, or that
        folder itself where it is called so."""
        results = self.config.results
        return results if results.name == self.config.name else results / self.config.name

    @property
    def sample_table(self) -> Path:
        return self.config.results / "samples.md"

    @property
    def ablation_table(self) -> Path:
        return self.config.results / "ablation.md"

    @property
    def claims(self) -> Path:
        return self.config.results / "claims.md"

    @property
    def caption_page(self) -> Path:
        return self.config.results / "captions.md"

    @property
    def page(self) -> Path:
        return self.config.results / "index.html"

    # ------------------------------------------------------------------------------------------------------- keys

    @property
    def _data_key(self) -> str:
        version = scenes.VERSION if isinstance(self.config.dataset, Scenes) else ""
        return _key("data", self.config.dataset, self.config.text.min_count, version)

    @property
    def _encoder_key(self) -> str:
        encoder = self.config.encoder
        if encoder.train:
            return _key("encoder", encoder.train, self._data_key, *self._arithmetic)
        beside = encoder.beside if isinstance(encoder, Sight) else ()
        return _key("encoder", encoder.name, encoder.pretrained, encoder.sha256, *beside)

    @property
    def _features_key(self) -> str:
        encoder = self.config.encoder
        written = encoder.model_dump(include={"dtype", "views"}, exclude_defaults=True)
        return _key(
            "features",
            self._data_key,
            self._encoder_key,
            encoder.grid,
            encoder.shard_size,
            encoder.on_bad_image,
            *([written] if written else []),
            *self._arithmetic,
        )

    @property
    def _pixels_key(self) -> str:
        encoder = self.config.encoder
        return _key(
            "pixels", self._data_key, self._encoder_key, encoder.shard_size, encoder.on_bad_image
        )

    @property
    def _generator_key(self) -> str:
        return _key(
            "generator", self.sight._features_key, self.config.generator, self.config.text.max_words
        )

    @property
    def _arithmetic(self) -> list[str]:
        """Part of the keys of what torch computes first, the encoder and its features; all other keys hold one of these. Bytes are promised
        for one number of threads."""
        return (
            [f"portable, {self.config.threads} threads"]
            if self.config.arithmetic == "portable"
            else []
        )

    def _system_key(self, system: str, seed: int) -> str:
        settings = self.config.systems[system]
        validated_by = next(iter(settings.decodings.values()))
        training, parts = self.config.training_of(system), []
        if self._arithmetic:  # to the byte, a batch divided otherwise is another result
            parts = [f"{self.config.processes} processes"]
        else:
            training = training.model_copy(
                update={"accumulate": 1}
            )  # as `processes`, it changes a result by rounding alone
        pixels = [self._pixels_key] if training.fine_tune else []
        if settings.tuned_from:
            judged_by = self._generator_key if settings.tuning.reconstructs else None
            return _key(
                "tune",
                self._system_key(settings.tuned_from, seed),
                training,
                validated_by,
                judged_by,
                *pixels,
                *parts,
            )
        release = release_of(settings.captioner)
        taught = [self._lessons_key(system, seed)] if settings.distilled_from else []
        return _key(
            "train",
            self._features_key,
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

    def _lessons_key(self, system: str, seed: int) -> str:
        teacher = self.config.systems[system].distilled_from
        decoding = self.config.systems[teacher.system].decodings[teacher.decoding]
        return _key(
            "caption",
            self._system_key(teacher.system, seed),
            decoding,
            self.config.decoding,
            "train",
        )

    def _captions_key(self, system: str, seed: int) -> str:
        return _key(
            "caption",
            self._system_key(system, seed),
            self.config.systems[system].decodings,
            self.config.decoding,
        )


def manifest_of(path: Path) -> Path:
    """The manifest that lies in a stage's folder, or beside its file."""
    return path.with_suffix(".manifest.json") if path.suffix else path / "manifest.json"


def _key(stage: str, *parts: Any) -> str:
    text = json.dumps([stage, VERSIONS[stage], *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(value: Any) -> Any:
    """Without defaults: a new option, as long as it is not used, leaves everything where it is. A default that changes raises VERSIONS."""
    return (
        value.model_dump(mode="json", exclude_defaults=True)
        if hasattr(value, "model_dump")
        else str(value)
    )
