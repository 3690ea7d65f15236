"""The pages of docs/: all are in the index and on the site, and links and commands are right."""

import re
import shlex
from pathlib import Path

import pytest

from dsacap.cli.arguments import parsed

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")
_COMMAND = re.compile(r"^    (dsacap .*)$", re.MULTILINE)


def linked_from(page: Path) -> set[Path]:
    return {(page.parent / link).resolve() for link in _LINK.findall(page.read_text())}


def test_every_page_is_in_the_index_and_on_the_site():
    index, site = ROOT / "docs" / "README.md", (ROOT / "mkdocs.yml").read_text()
    others = set(PAGES) - {index}
    assert others <= linked_from(index)
    assert not [page.name for page in others if f": {page.name}\n" not in site]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_to_files(page):
    assert not [link for link in linked_from(page) if not link.exists()]


@pytest.mark.parametrize("name", ["faq.md", "scoring.md", "caption.md"])
def test_commands_are_understood(name):
    commands = _COMMAND.findall((ROOT / "docs" / name).read_text())
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)
        parsed(words[1 : words.index("<")] if "<" in words else words[1:])
