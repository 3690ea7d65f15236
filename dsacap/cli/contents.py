"""The table of contents of the command line: verbs in chapters, as `--help` prints them."""

import argparse
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from dsacap.common.extras import DISTRIBUTION

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
        sub.set_defaults(run=run, parser=sub)
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
