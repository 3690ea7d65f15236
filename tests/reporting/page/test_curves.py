from dsacap.common.files import write_jsonl
from dsacap.reporting.page.curves import curves_of


def test_curves_have_titles_and_units_in_words(layout):
    for system, name in (("ar", "words"), ("dsacap-rl", "words"), ("dsacap", "stage_2")):
        folder = layout.system(system, 0)
        write_jsonl(folder / "train.jsonl", [{"step": 1, name: 2.0}, {"step": 2, name: 3.0}])
    found = {one["title"]: one for one in curves_of(layout)}
    assert found["Loss of the words"]["curves"] == {"ar": [(1, 2.0), (2, 3.0)]}
    assert found["Length of the captions drawn"]["unit"] == "words"
    assert found["Length of the captions drawn"]["tuned"]
    assert "Logged: stage 2" in found  # of a system that this file does not know


def test_without_logs_there_are_no_curves(layout):
    assert curves_of(layout) == []
