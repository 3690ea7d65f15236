"""Where each stage keeps its files.

Each stage has a folder, or a file, named by a hash of all that decides its content (`keys.py`). A
changed setting leads to new folders and leaves the old ones alone. So nothing stale is ever read,
going back to earlier settings costs nothing, and a killed training finds its checkpoints again. The
Snakefile and the command line share this file.
"""

from pathlib import Path

from dsacap.captioner.registry import captioner_class
from dsacap.config.claims import CONTINUATIONS
from dsacap.config.dataset import Scenes
from dsacap.config.experiment import Config
from dsacap.config.trials import tried
from dsacap.data.scenes import generate as scenes
from dsacap.runs.keys import Keys, key, with_encoder_of_generator
from dsacap.runs.stage import Row
from dsacap.runs.stage_table import HUMAN

ENCODER = "encoder"  # the row of the encoder that all systems share, where time is measured
PREDICTIONS = "predictions"  # replaces the name of a decoding if captions come from a file


class Layout:
    """The paths of a run, and the rows that it has.

    Methods that take a system and a seed return the path of that row.

    Attributes:
        config: The configuration.
        root: The folder of the run's working files.
    """

    config: Config
    root: Path

    def __init__(self, config: Config) -> None:
        """Lay out the run of a configuration."""
        self.config = config
        self.root = config.work / config.name
        self._keys = Keys(config)

    # ------------------------------------------------------------------------------ shared stages

    @property
    def data(self) -> Path:
        """Folder of the prepared data set."""
        return self.root / f"data-{self._keys.data}"

    @property
    def photos(self) -> dict[str, Path]:
        """Folder or archive of photos of each source."""
        dataset = self.config.dataset
        if isinstance(dataset, Scenes):
            return {split: self.data / "images" / f"{split}.zip" for split in scenes.SPLITS}
        return dataset.images

    @property
    def encoder(self) -> Path:
        """Folder of the image encoder."""
        return self.root / f"encoder-{self._keys.encoder}"

    @property
    def features(self) -> Path:
        """Folder of the encoder's features of every photo."""
        return self.root / f"features-{self._keys.features}"

    @property
    def degraded(self) -> Path:
        """Folder of the encoder's features of the degraded test photos."""
        return self.root / f"degraded-{self._keys.degraded}"

    def degraded_as(self, kind: str, strength: float) -> Path:
        """Return the folder of the features of the test photos, degraded in one way."""
        return self.degraded / f"{kind}-{strength:g}"

    @property
    def pixels(self) -> Path:
        """Folder of every photo's pixels, as the encoder takes them."""
        return self.root / f"pixels-{self._keys.pixels}"

    @property
    def generator(self) -> Path:
        """Folder of the caption-to-image generator."""
        return self.root / f"generator-{self._keys.generator}"

    @property
    def sight(self) -> "Layout":
        """The layout with the encoder in whose space the generator's pictures are compared.

        It is this layout itself if that is the captioners' encoder.
        """
        config = with_encoder_of_generator(self.config)
        return self if config is self.config else Layout(config)

    @property
    def judge(self) -> "Layout":
        """The layout with the encoder and the generator of the judge.

        Raises:
            UserError: The configuration has no judge.
        """
        judge = self.config.required_judge()
        update = {"encoder": judge.encoder, "generator": judge.generator}
        return Layout(self.config.model_copy(update=update))

    def tried(self, system: str, trial: str) -> "Layout":
        """Return the layout of a trial, in which the system has the trial's settings.

        Raises:
            UserError: There is no such trial.
        """
        return Layout(tried(self.config, system, trial))

    @property
    def latency(self) -> Path:
        """File of the latencies of all systems."""
        return self.root / f"latency-{self._keys.latency}.json"

    # ------------------------------------------------------------------------- stages of one row

    def system(self, system: str, seed: int) -> Path:
        """Return the folder of one trained system."""
        return self.root / f"{system}-seed{seed}-{self._keys.system(system, seed)}"

    def lessons(self, system: str, seed: int) -> Path:
        """Return the file of the teacher's captions of the train images, for a distilled system."""
        teacher = self.config.teacher_of(system).system
        return self.system(teacher, seed) / f"lessons-{self._keys.lessons(system, seed)}.json"

    def captions(self, system: str, seed: int) -> Path:
        """Return the file of a row's captions of the test split."""
        return self.system(system, seed) / f"captions-{self._keys.captions(system, seed)}.json"

    def scores(self, system: str, seed: int) -> Path:
        """Return the file of a row's scores; `HUMAN` and rows of `predictions` have one too."""
        scoring = self.config.scoring
        if system == HUMAN:
            return self.root / f"{HUMAN}-{key('score', self._keys.data, scoring)}" / "scores.json"
        if system in self.config.predictions:
            name = key("score", self._keys.data, self.predictions(system), scoring)
            return self.root / f"{system}-{name}" / "scores.json"
        without = self.config.without_spice(system)
        name = key("score", self._keys.captions(system, seed), scoring, *without)
        return self.system(system, seed) / f"scores-{name}.json"

    def predictions(self, row: str) -> Path:
        """Return the file of the captions of a row that was not trained here.

        It is the user's own file, or the one that the stage `checkpoint` writes.
        """
        given = self.config.predictions[row]
        if given.file:
            return given.file
        name = key("checkpoint", self._keys.data, given.checkpoint)
        return self.root / f"{row}-{name}" / "captions.json"

    def sample_scores(self, system: str, seed: int) -> Path:
        """Return the file of a row's costly scores: AllSPICE and the best of k by SPICE."""
        name = key("score", self._keys.captions(system, seed))
        return self.system(system, seed) / f"sample-scores-{name}.json"

    def reconstructions(self, system: str, seed: int) -> Path:
        """Return the file of how well the originals are reconstructed from a row's captions."""
        generators = [self._keys.generator, self.judge._keys.generator]
        if system == HUMAN:
            name = key("reconstruct", self._keys.data, *generators)
            return self.root / f"{HUMAN}-{name}" / "reconstructions.json"
        name = key("reconstruct", self._keys.captions(system, seed), *generators)
        return self.system(system, seed) / f"reconstructions-{name}.json"

    def inside(self, system: str, seed: int) -> Path:
        """Return the file of what goes on inside a system while it captions."""
        name = key("inspect", self._keys.captions(system, seed), self.config.inspection)
        return self.system(system, seed) / f"inside-{name}.json"

    def of_captions(self, stage: str, system: str, seed: int) -> Path:
        """Return the file that a stage without settings makes of a row's captions."""
        name = key(stage, self._keys.captions(system, seed))
        return self.system(system, seed) / f"{stage}-{name}.json"

    def robustness(self, system: str, seed: int) -> Path:
        """Return the file of a row's captions of degraded photos, and their scores."""
        name = key("score-degraded", self._keys.captions(system, seed), self._keys.degraded)
        return self.system(system, seed) / f"robustness-{name}.json"

    def validation(self, system: str, seed: int) -> Path:
        """Return the file of the validation scores of a row's decodings."""
        images = self.config.training_of(system).validation_images
        name = key("score-validation", self._keys.captions(system, seed), images)
        return self.system(system, seed) / f"validation-{name}.json"

    def completions(self, system: str, seed: int) -> Path:
        """Return the file of how a row continues right and wrong beginnings of captions."""
        name = key(
            "complete",
            self._keys.system(system, seed),
            self.completed[system],
            self.config.decoding,
        )
        return self.system(system, seed) / f"completions-{name}.json"

    # --------------------------------------------------------------------------------------- rows

    @property
    def runs(self) -> list[Row]:
        """All trained rows."""
        return [
            (system, seed)
            for system in self.config.systems
            for seed in self.config.seeds_of(system)
        ]

    @property
    def checked_first(self) -> list[Row]:
        """The rows whose CIDEr is compared with what is expected before others are trained."""
        return [
            (name, self.config.seeds[0])
            for name, system in self.config.systems.items()
            if system.expected
        ]

    @property
    def finished(self) -> list[Row]:
        """The trained rows whose scores exist.

        These are all rows when Snakemake asks for a table, and fewer when a user looks at one while
        rows are still being trained.
        """
        return [run for run in self.runs if self.scores(*run).exists()]

    @property
    def trials(self) -> list[tuple[Row, str]]:
        """The rows that are tried with other settings, each with the name of the trial.

        Trials are of the first seed.
        """
        return [
            ((system, self.config.seeds[0]), trial)
            for system, of_system in self.config.trials.items()
            for trial in of_system
        ]

    @property
    def degradable(self) -> list[Row]:
        """The rows that caption degraded photos: those that use the common encoder's features."""
        return [row for row in self.runs if not self.config.sees_pixels(row[0])]

    @property
    def inspected(self) -> list[Row]:
        """The rows of the first seed whose systems can show their inside."""
        return [
            (name, self.config.seeds[0])
            for name in self.config.systems
            if captioner_class(self.config.captioner_of(name)).inspects
        ]

    @property
    def completed(self) -> dict[str, dict]:
        """System -> its decodings whose continuations of given beginnings a claim compares."""
        ablation = self.config.ablation
        tested = ablation.decodings_tested(*CONTINUATIONS) if ablation else {}
        return {
            system: {name: self.config.systems[system].decodings[name] for name in names}
            for system, names in tested.items()
        }

    # ------------------------------------------------------------------------------------ results

    @property
    def table(self) -> Path:
        """The table of all rows; its other formats lie next to it."""
        return self.config.results / "table.md"

    @property
    def published(self) -> Path:
        """Folder of the committed tables and captions.

        It has the configuration's name and lies in the folder of the results, unless that folder
        has this name itself.
        """
        results = self.config.results
        return results if results.name == self.config.name else results / self.config.name

    @property
    def sample_table(self) -> Path:
        """The table of the costly scores."""
        return self.config.results / "samples.md"

    @property
    def robustness_table(self) -> Path:
        """The table of scores of captions of degraded photos."""
        return self.config.results / "robustness.md"

    @property
    def ablation_table(self) -> Path:
        """The table of the ablation."""
        return self.config.results / "ablation.md"

    @property
    def claims(self) -> Path:
        """The verdicts on the claims."""
        return self.config.results / "claims.md"

    @property
    def trials_table(self) -> Path:
        """The table of trials."""
        return self.config.results / "trials.md"

    @property
    def caption_page(self) -> Path:
        """The page of captions and their faults."""
        return self.config.results / "captions.md"

    @property
    def page(self) -> Path:
        """The page for a browser."""
        return self.config.results / "index.html"


def manifest_of(path: Path) -> Path:
    """Return the manifest of what a stage wrote: inside its folder, or next to its file."""
    return path.with_suffix(".manifest.json") if path.suffix else path / "manifest.json"


def diversity_plot_of(page: Path) -> Path:
    """Return the plot of quality against diversity that lies next to a page of results."""
    return page.with_name(f"{page.stem}-diversity.svg")
