"""The command line's verbs, in chapters, so that --help reads like a table of contents."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
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
from dsacap.cli.contents import Contents
from dsacap.common.outputs import output_path

_SHELLS = ("bash", "zsh", "tcsh")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    contents = Contents()
    contents.chapter("First")
    text = "what this machine lacks of what a configuration needs, and what to do about it"
    contents.verb("doctor", text, run=_doctor)
    own_files.add_validate(contents)
    text = "check a configuration, and print its number of runs and the disk space it needs"
    contents.verb("check", text, run=_check)
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
    options, rest = parser().parse_known_args(arguments or ["--help"])
    options.arguments = list(arguments)
    if options.verb == "caption" and not any(word.startswith("-") and word != "-" for word in rest):
        options.photos += rest
    elif rest:
        _refuse(options.parser, rest)
    return options


def _refuse(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Print the usage of a verb, the words that it does not know, and options that are alike."""
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    alike = [option for word in words for option in _alike(word, known)]
    hint = f"; did you mean {' or '.join(dict.fromkeys(alike))}?" if alike else ""
    parser.error(f"unrecognized arguments: {' '.join(words)}{hint}")


def _alike(word: str, options: Sequence[str]) -> list[str]:
    if len(word) == 2 and word.startswith("-"):
        return [option for option in options if option[2] == word[1]]
    return get_close_matches(word.split("=")[0], options, n=1) if word.startswith("--") else []


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
    from dsacap.cli.doctor import examine

    return int(not examine(options.config))
