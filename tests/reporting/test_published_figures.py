from pathlib import Path

import pytest

from dsacap.common.errors import UserError
from dsacap.reporting.published_figures import published_section

SHIPPED = Path(__file__).parents[2] / "config/published.csv"
HEADER = (
    "dataset,group,model,encoder,passes,rl,BLEU-4,METEOR,ROUGE-L,CIDEr,SPICE,verified,source,note\n"
)


def test_the_shipped_file_is_well_formed_and_marks_what_was_not_read_in_full():
    section = published_section(SHIPPED, "coco")
    assert section.startswith("## Reported by others")
    lines = {
        line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("|")
    }
    assert "128.8 |" in lines["DSACap"] and "doi 10.1145/3746027.3755156" in lines["DSACap"]
    assert (
        "127.9 [A] |" in lines["MirrorDiff"] and "131.6 [S] |" in section and "126.2 |" in section
    )
    assert "selected on test" in section and "129M" in section  # the protocols that differ
    assert (
        "CLIP-Diffusion-LM" in published_section(SHIPPED, "flickr8k")
        and published_section(SHIPPED, "scenes") == ""
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("coco,diffusion,X,,,no,,,,100,,M,a paper,", ":2: verified is 'M'"),
        (
            "coco,diffusion,X,,,no,,,,100,,V,,",
            ":2: a reported figure needs its model and its source",
        ),
        ("coco,diffusion,X,,,no,,,,about 100,,V,a paper,", ":2: CIDEr is 'about 100'"),
        ("coco,diffusion,X,,,no,,,,100,,V,a paper,with, commas", ":2: 14 fields are expected"),
        ("coco,diffusion,X", ":2: 14 fields are expected"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, row, message):
    (tmp_path / "published.csv").write_text(HEADER + row + "\n")
    with pytest.raises(UserError, match=message):
        published_section(tmp_path / "published.csv", "coco")


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "published.csv").write_text("model,CIDEr\nX,100\n")
    with pytest.raises(UserError, match="the columns must be dataset, "):
        published_section(tmp_path / "published.csv", "coco")
