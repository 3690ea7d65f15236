"""The arguments of the command line, in chapters, so that --help reads like a table of contents."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from dsacap.cli import finished_tables, measure_scale, verify
from dsacap.common.errors import PREEMPTED

_SHELLS = ("bash", "zsh", "tcsh")


def parser() -> argparse.ArgumentParser:
    contents = _Contents()
    contents.chapter("First")
    contents.verb(
        "doctor", "what this machine lacks of what a configuration needs, and what to do about it"
    )
    _add_validate(contents)
    contents.verb("check", "check a configuration, and print what it leads to")
    shell = contents.add_parser(
        "completion", "print what makes a shell complete verbs, options and files"
    )
    shell.add_argument("shell", choices=_SHELLS, help='bash: eval "$(dsacap completion bash)"')
    contents.chapter("Your own captions and photos")
    _add_score(contents)
    _add_caption(contents)
    contents.chapter(
        "Stages of the pipeline, in their order, as Snakemake calls them (caption and score are stages too)"
    )
    _add_data_stages(contents)
    _add_system_stages(contents)
    contents.chapter("Tables and pages")
    _add_reports(contents)
    contents.chapter("Finished tables")
    finished_tables.add_verbs(contents)
    verify.add_verb(contents)
    contents.verb("publish", "copy the finished tables to results/NAME/, and to the README")
    contents.verb(
        "keep",
        "copy the captions of finished rows, and how they were made, to results/NAME/rows/, to be committed",
    )
    contents.verb(
        "restore",
        "bring kept rows back, so that they are scored and reported without being trained again",
    )
    return contents.finished()


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, or the end of the program with a word on what is wrong. Photos may stand on both sides of an option."""
    whole = parser()
    options, beside = whole.parse_known_args(arguments)
    if options.verb == "caption" and not any(
        word.startswith("-") and word != "-" for word in beside
    ):
        options.photos += beside
    elif beside:
        whole.error(f"unrecognized arguments: {' '.join(beside)}")
    return options


class _WithoutList(argparse.RawDescriptionHelpFormatter):
    """Leaves out argparse's own list of verbs: the description has them, in chapters."""

    def add_argument(self, action: argparse.Action) -> None:
        if not isinstance(action, argparse._SubParsersAction):
            super().add_argument(action)


class _Contents:
    """Verbs by chapter. Stands in for what argparse's `add_subparsers` returns."""

    def __init__(self) -> None:
        self._parser = argparse.ArgumentParser(prog="dsacap", formatter_class=_WithoutList)
        self._verbs = self._parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        self._chapters: dict[str, list[tuple[str, str]]] = {}

    def chapter(self, title: str) -> None:
        self._chapters[title] = self._last = []

    def add_parser(
        self, name: str, help: str, description: str | None = None
    ) -> argparse.ArgumentParser:
        """`help` stands in the contents, `description`, if it is longer, where the verb itself is asked for help."""
        self._last.append((name, help))
        return self._verbs.add_parser(name, help=help, description=description or help)

    def verb(
        self, name: str, help: str, description: str | None = None, *, row: bool = False
    ) -> argparse.ArgumentParser:
        """One that reads a configuration; with `row`, of one of its systems."""
        sub = self.add_parser(name, help, description)
        sub.add_argument(
            "--config",
            type=Path,
            default=Path("config/scenes.yaml"),
            help="configuration (default: %(default)s)",
        )
        if row:
            sub.add_argument("--system", required=True, help="a system of the configuration")
            sub.add_argument(
                "--seed",
                type=int,
                default=0,
                help="which of the configuration's seeds (default: %(default)s)",
            )
        return sub

    def finished(self) -> argparse.ArgumentParser:
        self._parser.description = "\n".join(self._lines())
        return self._parser

    def _lines(self) -> Iterator[str]:
        yield "Benchmark and evaluation harness for DSACap and its rivals in image captioning. `dsacap VERB --help` tells more of a verb."
        for title, verbs in self._chapters.items():
            yield f"\n{title}:"
            yield from (f"  {name:<17}{line}" for name, line in verbs)


def completion(shell: str) -> str:
    """The script by which a shell completes what is typed."""
    import shtab

    whole = parser()
    [verbs] = (
        action for action in whole._actions if isinstance(action, argparse._SubParsersAction)
    )
    for sub in verbs.choices.values():
        for action in sub._actions:
            if action.type is Path:
                action.complete = shtab.FILE
    return shtab.complete(whole, shell)


def _add_validate(contents: _Contents) -> None:
    valid = contents.add_parser(
        "validate", "is a file of captions, a split, photos or a configuration as it should be?"
    )
    files = "predictions, annotations, a split, a folder or zip of photos, a configuration"
    valid.add_argument("files", type=Path, nargs="+", metavar="FILE", help=files)
    _add_references(valid, subset=False)


def _add_score(contents: _Contents) -> None:
    score = contents.verb(
        "score",
        "score a predictions file; or, as a stage, a system's captions",
        "score a predictions file; or, as a stage, a system's captions (`--system human`: the references)",
    )
    score.add_argument(
        "predictions", type=Path, nargs="?", help="a predictions file in COCO's results format"
    )
    score.add_argument("--system", help="a system of the configuration, or human")
    score.add_argument(
        "--seed",
        type=int,
        default=0,
        help="which of the configuration's seeds (default: %(default)s)",
    )
    _add_references(score)
    score.add_argument(
        "--train",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="train captions (COCO), for novelty and the leak check",
    )
    score.add_argument(
        "--spice",
        action=argparse.BooleanOptionalAction,
        help="fail where SPICE cannot be computed, or leave it out; the first time its parser is fetched (385 MB), 40 ms a new caption "
        "(default: computed where it can be)",
    )
    score.add_argument(
        "--all-spice",
        action="store_true",
        help="of several captions an image: AllSPICE and the best of k by SPICE too",
    )
    score.add_argument("--photos", type=Path, help="folder or zip of photos, for CLIPScore")
    score.add_argument(
        "--encoder", default="ViT-B-32", help="open_clip name for CLIPScore (default: %(default)s)"
    )
    score.add_argument(
        "--pretrained", default="openai", help="its pretrained tag or file (default: %(default)s)"
    )
    score.add_argument("--json", type=Path, metavar="FILE", help="write all scores, per image too")
    score.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="write metric, image_id, value, ci_low, ci_high; image_id empty for all",
    )
    compare = contents.add_parser("compare", "compare two predictions files on the same images")
    compare.add_argument("a", type=Path, help="a predictions file in COCO's results format")
    compare.add_argument("b", type=Path, help="another, of the same images")
    _add_references(compare)


def _add_references(parser: argparse.ArgumentParser, subset: bool = True) -> None:
    """The options by which references are given; `subset`: they may be of more images."""
    parser.add_argument(
        "--references",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="COCO captions_*.json, or with --tokenized id -> tokens",
    )
    parser.add_argument(
        "--tokenized", action="store_true", help="the references are PTB tokens already"
    )
    if subset:
        parser.add_argument(
            "--subset",
            action="store_true",
            help="score the predicted images alone where there are references of more",
        )


def _add_caption(contents: _Contents) -> None:
    photos = contents.verb(
        "caption",
        "caption photos of your own; or, as a stage, the test split by a system's decodings",
    )
    photos.add_argument(
        "photos",
        nargs="*",
        metavar="PHOTO",
        help="file, folder or zip of photos, or - for standard input",
    )
    photos.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="a system that `dsacap export` wrote",
    )
    photos.add_argument("--system", help="a trained system of the configuration")
    photos.add_argument(
        "--seed",
        type=int,
        help="with --system: which of the configuration's; with --from: of what is drawn (default: 0)",
    )
    photos.add_argument(
        "--decoding",
        metavar="NAME",
        help="how the system decodes (default: the first way that its configuration names)",
    )
    photos.add_argument(
        "--samples",
        type=int,
        metavar="N",
        help="captions a photo, by a decoding that draws (default: 1)",
    )
    photos.add_argument("--json", action="store_true", help="print a line of JSON a photo")
    photos.add_argument(
        "--image-id",
        type=int,
        metavar="ID",
        help="that a photo has in its data set, to draw what the stage drew for it",
    )
    text = "write a trained system to a folder of its own, for `dsacap caption --from` and `dsacap.load`"
    export = contents.verb("export", text, row=True)
    export.add_argument("folder", type=Path, metavar="FOLDER", help="that is not there yet")


def _add_data_stages(contents: _Contents) -> None:
    fetched = contents.verb(
        "download", "fetch the files that the configuration names, or link those that you have"
    )
    fetched.add_argument("--file", type=Path, help="one key of dataset.downloads; default: all")
    fetched.add_argument(
        "--from", type=Path, metavar="FOLDER", help="where files lie already, under their own names"
    )
    fetched.add_argument("--offline", action="store_true", help="never ask the network")
    unpack = contents.verb("unpack", "unpack a fetched archive")
    unpack.add_argument("--file", type=Path, required=True, help="a key of dataset.downloads")
    contents.verb("data", "make or load captions and photos, check them, tokenise")
    for name, text in (
        ("encoder", "train the tiny CLIP, or check the named encoder"),
        ("features", "encode every photo once"),
        (
            "generator",
            "train or load what turns captions into pictures; how well does it tell right from wrong ones?",
        ),
    ):
        of = contents.verb(name, text)
        of.add_argument(
            "--judge",
            action="store_true",
            help="that of the ablation's judge, instead of the captioners'",
        )
        if name != "generator":
            of.add_argument(
                "--sight",
                action="store_true",
                help="that in which the generator compares pictures (generator.encoder)",
            )
    contents.verb(
        "pixels",
        "keep every photo as the encoder looks at it, for systems that train it too (training.fine_tune)",
    )


def _add_system_stages(contents: _Contents) -> None:
    contents.verb("teach", "caption the train split by the teacher of a distilled system", row=True)
    for name, text in (
        ("train", "train one system"),
        ("tune", "tune a trained system by its rewards"),
    ):
        of = contents.verb(
            name,
            text,
            f"{text}; resumes where it was stopped; SIGTERM saves and exits with {PREEMPTED}",
            row=True,
        )
        of.add_argument(
            "--dry-run",
            action="store_true",
            help="take a few steps, keep nothing; tell parameters, memory, steps and hours",
        )
    brought = contents.verb(
        "checkpoint",
        "caption the test photos by a published checkpoint; resumes where it was stopped",
    )
    brought.add_argument("--row", required=True, help="a row of `predictions` in the configuration")
    contents.verb("time", "measure the latency of all systems")
    contents.verb(
        "inspect",
        "record what goes on inside a system: image denoised, graph and best path",
        row=True,
    )
    contents.verb(
        "score-samples",
        "AllSPICE and the best of k by SPICE of a system's captions, 40 ms each",
        row=True,
    )
    contents.verb(
        "reconstruct",
        "how well originals come back from captions, also by the judge (`--system human`: references)",
        row=True,
    )
    contents.verb(
        "complete", "let a system go on from right and wrong beginnings of captions", row=True
    )


def _add_reports(contents: _Contents) -> None:
    contents.verb(
        "report",
        "write the tables of the rows that are finished; those that are not are named in them",
    )
    contents.verb("report-samples", "write the table of what score-samples computes")
    contents.verb(
        "report-captions",
        "write the captions of some photos, and what is wrong with all: grammar, length, agreement",
    )
    contents.verb(
        "report-page",
        "write index.html: photos with every system's captions, the inside of DSACap, plots",
    )
    contents.verb("report-ablation", "write the table of the ablation")
    contents.verb("report-claims", "test the ablation's claims and write the verdicts")
    latency = contents.add_parser(
        "report-latency", "write the page of what pytest --benchmark-only measured"
    )
    latency.add_argument(
        "benchmarks",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="of pytest --benchmark-only --benchmark-json FILE",
    )
    latency.add_argument(
        "--output",
        type=Path,
        default=Path("results/latency.md"),
        help="the page (default: %(default)s)",
    )
    measure_scale.add_verbs(contents)
