"""The command line's verbs, in chapters, so that --help reads like a table of contents."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from dsacap.cli import (
    finished_tables,
    measure_gpu,
    measure_scale,
    own_files,
    reports,
    stages,
    verify,
)
from dsacap.common.extras import DISTRIBUTION
from dsacap.common.outputs import output_path

_SHELLS = ("bash", "zsh", "tcsh")

Run = Callable[[argparse.Namespace], int]  # from options to the exit status


class Contents:
    """Verbs by chapter, each with the function that runs it."""

    def __init__(self) -> None:
        self._parser = argparse.ArgumentParser(prog="dsacap", formatter_class=_WithoutList)
        version = f"{DISTRIBUTION} {metadata.version(DISTRIBUTION)}"
        self._parser.add_argument("--version", action="version", version=version)
        self._verbs = self._parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        self._chapters: dict[str, list[tuple[str, str]]] = {}
        self._last: list[tuple[str, str]] = []

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapters[title] = self._last = []

    def add_parser(
        self, name: str, help: str, description: str | None = None, *, run: Run
    ) -> argparse.ArgumentParser:
        """Add a verb.

        Args:
            name: The verb.
            help: Its line in the contents.
            description: What its own help begins with, if that is longer.
            run: The function that runs it.

        Returns:
            The parser of its options.
        """
        self._last.append((name, help))
        sub = self._verbs.add_parser(name, help=help, description=description or help)
        sub.set_defaults(run=run)
        return sub

    def verb(
        self, name: str, help: str, description: str | None = None, *, run: Run, row: bool = False
    ) -> argparse.ArgumentParser:
        """Add a verb that reads a configuration; with `row`, of one of its systems."""
        sub = self.add_parser(name, help, description, run=run)
        place, text = Path("config/scenes.yaml"), "configuration (default: %(default)s)"
        sub.add_argument("--config", type=Path, default=place, help=text)
        if row:
            sub.add_argument("--system", required=True, help="a system of the configuration")
            text = "which of the configuration's seeds (default: %(default)s)"
            sub.add_argument("--seed", type=int, default=0, help=text)
        return sub

    def finished(self) -> argparse.ArgumentParser:
        """Return the parser of all verbs."""
        self._parser.description = "\n".join(self._lines())
        return self._parser

    def _lines(self) -> Iterator[str]:
        yield "Benchmark and evaluation harness for DSACap and its rivals in image captioning."
        yield "`dsacap VERB --help` describes a verb."
        width = max(len(name) for verbs in self._chapters.values() for name, _ in verbs)
        for title, verbs in self._chapters.items():
            yield f"\n{title}:"
            yield from (f"  {name:<{width}}  {line}" for name, line in verbs)


class _WithoutList(argparse.RawDescriptionHelpFormatter):
    """Leaves out argparse's own list of verbs: the description has them, in chapters."""

    def add_argument(self, action: argparse.Action) -> None:
        if not isinstance(action, argparse._SubParsersAction):
            super().add_argument(action)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    contents = Contents()
    contents.chapter("First")
    text = "what this machine lacks of what a configuration needs, and what to do about it"
    contents.verb("doctor", text, run=_doctor)
    own_files.add_validate(contents)
    contents.verb("check", "check a configuration, and print what it leads to", run=_check)
    text = "print a script by which a shell completes verbs, options and files"
    shell = contents.add_parser("completion", text, run=_completion)
    shell.add_argument("shell", choices=_SHELLS, help='bash: eval "$(dsacap completion bash)"')
    contents.chapter("Your own captions and photos")
    own_files.add_verbs(contents)
    contents.chapter(
        "Stages of the pipeline, as Snakemake calls them (caption and score are stages too)"
    )
    stages.add_verbs(contents)
    contents.chapter("Tables and pages")
    reports.add_verbs(contents)
    measure_scale.add_verbs(contents)
    measure_gpu.add_verbs(contents)
    contents.chapter("Finished tables")
    finished_tables.add_verbs(contents)
    verify.add_verb(contents)
    reports.add_keeping(contents)
    return contents.finished()


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; print what is wrong with them and exit with 2 if they are not right.

    Photos may be named on both sides of an option, which argparse alone does not take. Without
    arguments, the help is printed.
    """
    whole = parser()
    options, rest = whole.parse_known_args(arguments or ["--help"])
    options.arguments = list(arguments)
    if options.verb == "caption" and not any(word.startswith("-") and word != "-" for word in rest):
        options.photos += rest
    elif rest:
        whole.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def completion(shell: str) -> str:
    """Return the script by which a shell completes what is typed."""
    import shtab

    whole = parser()
    [verbs] = (
        action for action in whole._actions if isinstance(action, argparse._SubParsersAction)
    )
    for sub in verbs.choices.values():
        for action in sub._actions:
            if action.type in (Path, output_path):
                action.complete = shtab.FILE
    return shtab.complete(whole, shell)


def _completion(options: argparse.Namespace) -> int:
    print(completion(options.shell))
    return 0


def _check(options: argparse.Namespace) -> int:
    layout = stages.opened(options.config)
    from dsacap.stages.disk_estimate import predicted_sizes

    print(f"{options.config}: well-formed; {len(layout.runs)} runs, table in {layout.table}")
    for line in predicted_sizes(layout):
        print(line)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    config = stages.opened(options.config).config
    from dsacap.cli.doctor import examine

    return int(not examine(config))
