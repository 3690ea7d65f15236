"""The scores of a file as `dsacap score` prints and writes them."""

from collections.abc import Iterator, Mapping

from tabulate import tabulate

from dsacap.cli.printing import is_percentage, scale_of, signature_lines
from dsacap.common.printable import counted
from dsacap.evaluation.inputs import Inputs
from dsacap.evaluation.scoring import flat

_IN_PAPERS = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE")
_COUNTS = ("vocabulary",)  # whole numbers
_OF_METRICS = ("quality", "held_out", "oracle", "diversity")  # parts that are scores by metric


def print_scores(parts: Mapping[str, dict], images: int) -> None:
    """Print the row of a paper's table, all scores, the reasons for missing ones, and signatures.

    Args:
        parts: The scores, as `score_inputs` returns them.
        images: The number of images.
    """
    scores, domains = flat(parts), parts.get("domains", {})
    print(f"{_headline(scores)} ({counted(images, 'image')})\n")
    print(_table(scores, domains))
    print(f"\n{scale_of(scores)}")
    if leaks := parts.get("leaks"):
        print(
            f"\n{leaks['verbatim']} of {counted(leaks['captions'], 'caption')} occur word for word"
            " in the train captions."
        )
    everything = [score for of in (scores, *domains.values()) for score in of.values()]
    reasons = dict.fromkeys(score["reason"] for score in everything if "reason" in score)
    print("".join(f"\n{reason}\n" for reason in reasons))
    if computed := [one["signature"] for one in scores.values() if one["value"] is not None]:
        print("\n".join(signature_lines(computed)))


def _headline(scores: Mapping[str, dict]) -> str:
    """Return the scores of a row in a paper, in the order and with the digits of papers.

    Without references there are none of these metrics, so all scores are returned.
    """
    values = {metric: scores[metric]["value"] for metric in _IN_PAPERS if metric in scores}
    if not values:
        return ", ".join(f"{metric} {_shown(metric, of['value'])}" for metric, of in scores.items())
    return ", ".join(
        f"{metric} {'n/a' if value is None else f'{100 * value:.1f}'}"
        for metric, value in values.items()
    )


def _table(scores: Mapping[str, dict], domains: Mapping[str, Mapping[str, dict]]) -> str:
    """The table of metrics, with a column for each domain."""
    lines = []
    for metric, score in scores.items():
        interval = (
            "-"
            if score["interval"] is None
            else " .. ".join(_shown(metric, bound) for bound in score["interval"])
        )
        of_domains = [
            _shown(metric, of[metric]["value"]) if metric in of else "-" for of in domains.values()
        ]
        value = _shown(metric, score["value"])
        lines.append([metric, *of_domains, value, interval, str(score["n"] or "-")])
    whole = "overall" if domains else "Score"
    return _aligned(lines, ["Metric", *domains, whole, "95 % interval", "Images"])


def _shown(metric: str, value: float | None) -> str:
    """A number as papers print it."""
    if value is None:
        return "n/a"
    if metric in _COUNTS:
        return f"{value:.0f}"
    return f"{100 * value:.2f}" if is_percentage(metric) else f"{value:.4f}"


def _aligned(lines: list[list[str]], headers: list[str]) -> str:
    return tabulate(
        lines, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1))
    )


def scores_by_id(parts: Mapping[str, dict], inputs: Inputs) -> dict:
    """Return the parts with the images' ids in place of their numbers."""

    def named(score: dict) -> dict:
        per_image = {str(inputs.images[int(i)]): v for i, v in score["per_image"].items()}
        return score | {"per_image": per_image}

    def all_named(scores: Mapping[str, dict]) -> dict:
        return {metric: named(score) for metric, score in scores.items()}

    with_ids = {
        part: all_named(scores) if part in _OF_METRICS else scores for part, scores in parts.items()
    }
    domains = parts.get("domains", {})
    return with_ids | {"domains": {name: all_named(of) for name, of in domains.items()}}


def score_rows(parts: Mapping[str, dict], inputs: Inputs) -> Iterator[tuple]:
    """Yield the rows of the CSV file, unscaled: CIDEr in 0..10, the others in 0..1.

    If there are domains, a last column names that of the image, or that of the score.
    """
    domains = parts.get("domains", {})
    for *row, domain in _rows_with_domains(parts, domains, inputs):
        yield (*row, domain) if domains else tuple(row)


def _rows_with_domains(
    parts: Mapping[str, dict], domains: Mapping[str, Mapping[str, dict]], inputs: Inputs
) -> Iterator[tuple]:
    yield "metric", "image_id", "value", "ci_low", "ci_high", "domain"
    for metric, score in flat(parts).items():
        for domain, of in ((None, {metric: score}), *domains.items()):
            if metric in of:
                low, high = of[metric]["interval"] or (None, None)
                yield metric, None, of[metric]["value"], low, high, domain
        for i, value in score["per_image"].items():
            yield metric, inputs.images[int(i)], value, None, None, inputs.groups.get(int(i))
