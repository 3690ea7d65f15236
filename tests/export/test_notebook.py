"""The notebook of examples/: its cells run in order, and it is committed without outputs."""

import runpy
from pathlib import Path

import pytest

from dsacap.common.files import read_json

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "score_and_caption.ipynb"
CELLS = [cell for cell in read_json(NOTEBOOK)["cells"] if cell["cell_type"] == "code"]


@pytest.fixture
def names(exported, tmp_path, monkeypatch) -> dict:
    """What the cells define, run in one namespace as a kernel does."""
    monkeypatch.setenv("DSACAP_SYSTEM", str(exported))
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in CELLS))
    return runpy.run_path(str(script))


def test_it_scores_compares_and_captions(names):
    assert names["scores"]["BLEU-1"].value == pytest.approx(0.857, abs=0.001)
    assert set(names["scores"]["CIDEr"].per_image) == set(names["references"])
    examples = names["comparison"].examples()
    assert set(examples["ours"]) == {"dog.jpg", "bus.jpg"}
    assert set(examples["theirs"]) == {"cat.jpg", "men.jpg"}
    [caption] = names["captions"]
    assert caption == names["dsacap"].load(names["folder"]).caption([names["photo"]])[0]


def test_it_has_no_outputs():
    assert not any(cell["outputs"] or cell["execution_count"] for cell in CELLS)
