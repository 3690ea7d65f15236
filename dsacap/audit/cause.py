"""One difference between two runs, and how likely its kind is to change a number."""

from dataclasses import dataclass

ABSENT = "absent"
UNCHANGED = "meant to leave the result unchanged"
_BY_LIKELIHOOD = (
    "configuration",
    "seed",
    "data",
    "signature",
    "code",
    "hardware",
    "versions",
    UNCHANGED,
    "unknown",
)


@dataclass(frozen=True)
class Cause:
    """One difference between two runs that may explain a difference in their numbers.

    Attributes:
        kind: configuration, seed, data, code, versions, hardware, signature or unknown.
        what: The name of what differs, such as a configuration key, a file or a package.
        old: Its value on the old side, as text.
        new: Its value on the new side, as text.
    """

    kind: str
    what: str
    old: str
    new: str

    @property
    def rank(self) -> int:
        """The place of this cause among others, the likeliest first.

        A processor changes the rounding of every sum; code that is meant to leave the result
        unchanged is tested to do so.
        """
        unchanged = self.kind == "code" and UNCHANGED in self.what
        return _BY_LIKELIHOOD.index(UNCHANGED if unchanged else self.kind)

    def __str__(self) -> str:
        return f"{self.what}: {self.old} -> {self.new}" if self.old or self.new else self.what
