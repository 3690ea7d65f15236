"""No count of docs/trust.md is typed by hand."""

from report import DOCS, counted, page


def test_the_page_tells_what_was_counted():
    text = (DOCS / "trust.md").read_text(encoding="utf-8")
    assert counted() in text and page(text) == text, "run python tests/faults/report.py"
