"""Write the counts of docs/trust.json into docs/trust.md.

pytest tests/faults -m faults --faults-report docs/trust.json
python tests/faults/report.py
"""

import re
from pathlib import Path

from tabulate import tabulate

from dsacap.common.files import read_json, read_text, write_text

DOCS = Path(__file__).resolve().parents[2] / "docs"
_PLACE = re.compile(
    r"(<!-- counts: written by tests/faults/report\.py -->\n).*?(<!-- end -->)", re.DOTALL
)
_TRIED = {
    "test_killed_anywhere": "SIGKILL to a random process of the smoke pipeline at a random moment;"
    " run again, it gives the same bytes",
    "test_the_same_bytes_elsewhere": "the smoke pipeline in another folder, locale, time zone, hash"
    " seed and number of cores gives the same bytes",
    "test_malformed_caption_files": "files of captions in every form, sound or damaged, as"
    " predictions or references: `validate` and `score` agree, and accepted ones are read as plain"
    " code reads them and scored as by pycocoevalcap, METEOR included",
    "test_scores_of_any_words_are_the_stock_ones": "`dsacap score` on files of arbitrary words"
    " gives pycocoevalcap's scores, image by image",
    "test_every_stage_on_disks_and_limits_that_fail": "every stage with failing disks and limits,"
    " then once more without",
}


def counted() -> str:
    """Return the table of all counts."""
    rows = [
        (
            _description(test),
            "; ".join(f"{what.replace('_', ' ')} {_plain(n)}" for what, n in counts.items()),
        )
        for test, counts in _report().items()
    ]
    return (
        "\n"
        + tabulate(rows, ("Tried", "How often, and how it ended"), tablefmt="pipe")
        + f"\n\n{_inputs()}\n\n"
    )


def page(text: str) -> str:
    """Return the page with the table put in."""
    return _PLACE.sub(lambda found: found[1] + counted() + found[2], text)


def _report() -> dict[str, dict]:
    return dict(sorted(read_json(DOCS / "trust.json").items()))


def _inputs() -> str:
    malformed = [counts["inputs"] for test, counts in _report().items() if "malformed" in test]
    return f"{sum(malformed):,} malformed inputs of {len(malformed)} kinds in all."


def _description(test: str) -> str:
    name, _, place = test.partition("::")[2].partition("[")
    if name not in _TRIED and name.startswith("test_malformed_"):
        return f"malformed {name.removeprefix('test_malformed_').replace('_', ' ')}"
    return _TRIED[name] + (f" ({place[:-1]})" if place else "")


def _plain(count: object) -> str:
    return (
        ", ".join(f"{n} {what}" for what, n in count.items())
        if isinstance(count, dict)
        else str(count)
    )


if __name__ == "__main__":
    write_text(DOCS / "trust.md", page(read_text(DOCS / "trust.md")))
