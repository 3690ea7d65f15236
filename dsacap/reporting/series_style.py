"""The colour and the marker of each system, the same in every plot and on the page.

Colour, marker and label say the same thing, so that a reader who cannot tell two colours apart
still reads the plot. Colours alone repeat after eight systems and markers after seven; together
they distinguish 56. Any two of the eight colours differ by a CIEDE2000 of 10 or more, also to
readers with deuteranopia or protanopia, and stand out from their background by 3:1 or more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

# (on a light background, on a dark one), in similar hues
COLOURS = (
    ("#5599dd", "#33aaff"),
    ("#ff5500", "#ff9900"),
    ("#009988", "#88eecc"),
    ("#6622ff", "#ffccff"),
    ("#dd3366", "#bb6677"),
    ("#003388", "#9977aa"),
    ("#aa0000", "#cc6633"),
    ("#770033", "#ff8888"),
)
# matplotlib's name of a marker -> its outline in SVG, about two units wide
MARKERS = {
    "o": "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0 -1 0Z",
    "s": "M-.9 -.9H.9V.9H-.9Z",
    "^": "M0 -1.2L1.1 .9H-1.1Z",
    "D": "M0 -1.3L1.3 0L0 1.3L-1.3 0Z",
    "v": "M0 1.2L1.1 -.9H-1.1Z",
    "P": "M-.4 -1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "X": "M-.6 -1.1L0 -.5L.6 -1.1L1.1 -.6L.5 0L1.1 .6L.6 1.1L0 .5L-.6 1.1L-1.1 .6L-.5 0L-1.1 -.6Z",
}


@dataclass(frozen=True)
class Style:
    """How a system is drawn.

    Attributes:
        colour: The index of its colour in `COLOURS`.
        marker: The name of its marker in `MARKERS`.
    """

    colour: int
    marker: str


def styles_of(systems: Iterable[str]) -> dict[str, Style]:
    """Return the style of each system, by its place among all systems of a configuration."""
    names = list(MARKERS)
    return {
        system: Style(at % len(COLOURS), names[at % len(names)])
        for at, system in enumerate(systems)
    }


def colour_rules() -> str:
    """Return the style sheet of the page's colours: the class s0 has the first one, and so on."""
    numbered = list(enumerate(COLOURS))
    light = "".join(f".s{at} {{ color: {colour}; }}\n" for at, (colour, _) in numbered)
    dark = "".join(f".s{at} {{ color: {colour}; }}\n" for at, (_, colour) in numbered)
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
