"""What `score` and `compare` print alike."""

from dsacap.cli.printing import scale_of, signature_lines
from dsacap.scoring.signature import Scored, signature


def test_fields_that_all_share_are_printed_once_and_alike_neighbours_on_a_line():
    scored = Scored("given", "sha256:0x6", 3, None)
    metrics = ("BLEU-1", "BLEU-2", "ROUGE-L", "CIDEr")
    of = {metric: signature(metric, scored) for metric in metrics}
    head, shared, between, *own = signature_lines(of.values())
    assert "comparable only if" in head and between == "and each adds"
    assert own == [
        "  BLEU-1 to BLEU-2|len:closest|smooth:none|case:lower",
        "  ROUGE-L|beta:1.2",
        "  CIDEr-D|df:test-refs|n:4|sigma:6",
    ]
    assert of["CIDEr"] == f"{own[-1].strip()}|{shared.strip()}"


def test_one_metric_shares_all_with_itself():
    _, shared, _, own = signature_lines(["CIDEr-D|df:test-refs|v:1"])
    assert (shared, own) == ("  df:test-refs|v:1", "  CIDEr-D")


def test_the_scale_is_said_of_all_numbers_or_of_those_with_two_decimals():
    assert scale_of(["CIDEr", "best-of-3 CIDEr"]).startswith("Scores are x100")
    assert scale_of(["CIDEr", "Div-1"]).startswith("Scores with two decimals are x100")
