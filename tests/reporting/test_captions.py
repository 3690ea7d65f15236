import pytest

from dsacap.common.files import read_jsonl, write_json, write_jsonl
from dsacap.reporting.captions import write_caption_page
from dsacap.runs.layout import Layout
from helpers import tiny_config

# The references of the first half of the images agree, those of the second half do not.
REFERENCES = {i: ["a dog runs", "a dog runs", "the dog runs"] for i in range(12)}
REFERENCES |= {i: ["two dogs play", f"men number {i} sit", "it is green"] for i in range(12, 24)}


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout(tiny_config(tmp_path))
    rows = [
        {
            "id": i,
            "file": f"{i}.jpg",
            "source": "s",
            "split": "test",
            "captions": references,
            "tokens": references,
        }
        for i, references in REFERENCES.items()
    ]
    train = {
        "id": 99,
        "file": "99.jpg",
        "source": "s",
        "split": "train",
        "captions": [],
        "tokens": ["dog dogs runs running"] * 5,
    }
    write_jsonl(layout.data / "captions.jsonl", [*rows, train])
    for system, seed in layout.runs:
        copies = {str(i): [first, "never shown"] for i, (first, *_) in REFERENCES.items()}
        wrong = {str(i): ["a dogs is is runs in a"] for i in REFERENCES}
        decodings = layout.config.systems[system].decodings
        write_json(
            layout.captions(system, seed),
            {name: copies if system == "ar" else wrong for name in decodings},
        )
    return layout


def cells(page: str, section: str, start: str) -> list[str]:
    lines = page.split(f"## {section}")[1].split("\n## ")[0].splitlines()
    return next(
        [cell.strip() for cell in line.split("|")[2:-1]]
        for line in lines
        if line.startswith(f"| {start}")
    )


def test_page_of_captions(layout):
    write_caption_page(layout)
    page = layout.caption_page.read_text()
    assert cells(page, "Faults", "System") == [
        "doubled",
        "verbs",
        "number",
        "fragment",
        "any",
        "words",
    ]
    assert cells(page, "Faults", "Human") == ["0.0", "0.0", "0.0", "0.0", "0.0", "3.2"]
    assert cells(page, "Faults", "ar") == ["0.0"] * 5 + ["3.0"]
    assert cells(page, "Faults", "dsacap") == ["100.0"] * 5 + ["7.0"]
    assert cells(page, "CIDEr by length", "dsacap")[1::2] == ["100.0", "-", "-", "-"]
    disagree, _, agree = (float(cell) for cell in cells(page, "CIDEr by agreement", "ar"))
    assert (
        cells(page, "CIDEr by agreement", "System") == ["disagree", "middling", "agree"]
        and agree != disagree
    )
    assert (
        "12 photos" in page
        and "### 2.jpg\n\n- ar, greedy: a dog runs\n" in page
        and "never shown" not in page
    )


def test_the_page_is_the_same_every_time(layout):
    write_caption_page(layout)
    first = layout.caption_page.read_bytes()
    write_caption_page(layout)
    assert layout.caption_page.read_bytes() == first


def test_one_reference_cannot_disagree(layout):
    rows = [
        {**row, "captions": row["captions"][:1], "tokens": row["tokens"][:1]}
        for row in read_jsonl(layout.data / "captions.jsonl")
    ]
    write_jsonl(layout.data / "captions.jsonl", rows)
    write_caption_page(layout)
    page = layout.caption_page.read_text()
    assert "agreement" not in page and "## CIDEr by length" in page
