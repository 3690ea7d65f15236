"""Scores as typed objects, for callers in Python."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsacap.data.caption_files.ids import ImageId

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Score:
    """One metric on a set of images.

    Attributes:
        metric: Its name, such as "CIDEr".
        value: The score of all images: CIDEr in 0..10, the others in 0..1. None if it could not be
            computed.
        interval: Its 95 % interval by bootstrap over images; None if the metric has none.
        per_image: The score of each image by its id; empty if the metric is of the set only.
        signature: What another number must share to be comparable.
        reason: Why there is no value; None if there is one.
    """

    metric: str
    value: float | None
    interval: tuple[float, float] | None
    per_image: dict[ImageId, float]
    signature: str
    reason: str | None = None


class Scores(Mapping[str, Score]):
    """The scores of one set of captions, by metric.

    Attributes:
        notes: What was read, what was left out, and what may be a mistake.
        domains: The scores of each domain of the references, such as those of nocaps, as if its
            images were all.
    """

    def __init__(
        self,
        scores: Mapping[str, Score],
        notes: tuple[str, ...] = (),
        domains: "Mapping[str, Scores] | None" = None,
    ) -> None:
        self._scores, self.notes, self.domains = dict(scores), notes, dict(domains or {})

    def __getitem__(self, metric: str) -> Score:
        return self._scores[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __repr__(self) -> str:
        values = (f"{name}={score.value}" for name, score in self._scores.items())
        return f"Scores({', '.join(values)})"

    def to_pandas(self, per_image: bool = False) -> "pd.DataFrame":
        """Return the scores as a table.

        Args:
            per_image: Whether rows are images and columns metrics. By default rows are metrics,
                with columns value, low, high, images and signature, and a column with the value of
                each domain.
        """
        import pandas as pd

        if per_image:
            return pd.DataFrame({name: pd.Series(s.per_image) for name, s in self.items()})
        rows = {name: _row(score) | self._of_domains(name) for name, score in self.items()}
        return pd.DataFrame.from_dict(rows, orient="index")

    def _of_domains(self, metric: str) -> dict[str, float | None]:
        return {domain: of[metric].value for domain, of in self.domains.items() if metric in of}


def _row(score: Score) -> dict[str, Any]:
    low, high = score.interval or (None, None)
    images = len(score.per_image) or None
    return {
        "value": score.value,
        "low": low,
        "high": high,
        "images": images,
        "signature": score.signature,
    }


def scores_of(
    plain: Mapping[str, Mapping[str, Any]],
    images: Mapping[int, ImageId],
    notes: tuple[str, ...] = (),
    domains: Mapping[str, Scores] | None = None,
) -> Scores:
    """Return scores that are plain data as typed ones.

    Args:
        plain: Metric -> {"value", "interval", "per_image", "signature"}, as `plain_scores` returns.
        images: The id of each image by its number.
        notes: See `Scores`.
        domains: See `Scores`.
    """
    found = {}
    for metric, score in plain.items():
        interval = score["interval"]
        found[metric] = Score(
            metric,
            score["value"],
            (interval[0], interval[1]) if interval else None,
            {images[int(number)]: value for number, value in score["per_image"].items()},
            score["signature"],
            score.get("reason"),
        )
    return Scores(found, notes, domains)
