"""--help as a table of contents, and the completion of shells."""

import argparse
import subprocess

import pytest

from dsacap.cli.arguments import completion, parsed, parser
from dsacap.cli.main import main


def verbs() -> dict[str, argparse.ArgumentParser]:
    [subparsers] = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return subparsers.choices


def test_help_lists_every_verb_once_on_a_line_of_its_own(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    firsts = [line.split()[0] for line in lines if line.startswith("  ")]
    listed = [word for word in firsts if not word.startswith("-")]
    assert sorted(listed) == sorted(verbs())
    assert all(len(line) <= 120 for line in lines)


def test_the_command_alone_prints_its_help(capsys):
    printed = []
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "score a predictions file" in printed[0]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_a_misspelt_verb_lists_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["scroe"])
    assert ended.value.code == 2 and "score" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("score", "a", "--document-frequencies", ""),
        ("score", "a", "--bertscore-model", " "),
        ("score", "a", "--photos", ""),
        ("compare", "a", "b", "--photos", ""),
        ("page", "a", "--photos", ""),
        ("validate", "a", "--split", ""),
        ("convert", "a", "--output", "b", "--decoding", ""),
    ],
)
def test_an_empty_value_is_not_taken_for_none(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(words)
    message = capsys.readouterr().err
    assert ended.value.code == 2 and f"argument {words[-2]}: is empty; is a shell" in message


def test_photos_may_be_on_both_sides_of_an_option(capsys):
    options = parsed(["caption", "a.jpg", "--samples", "3", "b.jpg", "--json", "-"])
    assert options.photos == ["a.jpg", "b.jpg", "-"] and options.samples == 3
    for words in (
        ["caption", "a.jpg", "--jason", "b.jpg"],
        ["caption", "a.jpg", "--json", "-b"],
        ["data", "b.jpg"],
    ):
        with pytest.raises(SystemExit):
            parsed(words)
        assert "unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, meant",
    [("-o", "--output"), ("--refrences=x", "--references"), ("--zzz", None), ("-z", None)],
)
def test_an_unknown_option_is_refused_with_the_usage_of_its_verb(option, meant, capsys):
    with pytest.raises(SystemExit):
        parsed(["page", "a.json", "--references", "r.json", option, "x"])
    message = capsys.readouterr().err
    assert "usage: dsacap page " in message and f"unrecognized arguments: {option}" in message
    assert (f"did you mean {meant}?" in message) if meant else ("did you mean" not in message)


@pytest.mark.parametrize("typed", ["dsacap exp", "dsacap score --refer"])
def test_bash_completes(typed):
    words = typed.split()
    completing = (
        f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_dsacap;"
        " echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", f"{completion('bash')}\n{completing}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"dsacap exp": "export", "dsacap score --refer": "--references"}[typed] in done.stdout
