"""The counts in docs/trust.md are generated."""

from report import DOCS, counted, page


def test_the_page_has_the_counts():
    text = (DOCS / "trust.md").read_text(encoding="utf-8")
    assert counted() in text and page(text) == text, "run python tests/faults/report.py"
