"""One page of how systems differ: a file that needs no network and no JavaScript.

The page is built as a tree, whose serialiser escapes all text: captions, ids and names of files are
not trusted.
"""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from dsacap.common.errors import UserError
from dsacap.common.printable import counted, on_one_line
from dsacap.data.caption_files.ids import ImageId
from dsacap.data.photos import PhotoSource, decode
from dsacap.evaluation.comparison import LEVEL, Comparison
from dsacap.reporting.policy import policy_of
from dsacap.scoring.score import PERCENT

_SHOWN = 15  # images of each winner
_SIDE = 288  # pixels of a photo: it is shown at half of that, and sharp on a fine screen
_STYLE = """
.card { content-visibility: visible; } /* the images are few, and so they are printed too */
.card.bare { grid-template-columns: minmax(0, 1fr); }
section > ul { padding-left: 1.1rem; overflow-wrap: anywhere; }
.captions th, .captions td { overflow-wrap: anywhere; }
"""
RANKS = (
    f"In parentheses: ranks. Systems that do not differ significantly (p < {LEVEL}, a paired"
    " permutation test over images with Holm's correction for all pairs) are tied."
)


def comparison_page(found: Comparison, photos: PhotoSource | None = None) -> tuple[str, list[str]]:
    """Return the page, and what is wrong with photos that are not on it.

    Args:
        found: The comparison.
        photos: Where the photos of the images are; by default the page has none.
    """
    style = (Path(__file__).parent / "page" / "page.css").read_text(encoding="utf-8") + _STYLE
    root = Element("html", lang="en")
    _add_head(root, f"Comparison: {', '.join(found.values)}", style)
    body = SubElement(root, "body")
    header = SubElement(body, "header")
    _add(header, "h1", "Comparison of captions")
    systems, images = counted(len(found.values), "system"), len(found.references)
    _add(header, "p", f"{systems}, {counted(images, 'image')}", "muted")
    main = SubElement(body, "main")
    _add_scores(_section(main, "Scores and ranks"), found)
    _add_differences(_section(main, "Differences"), found)
    problems = []
    won = found.won()
    for winner, examples in found.examples(_SHOWN).items():
        section = _section(main, highest(winner, len(won[winner]), images))
        problems += _add_images(section, found, examples, photos)
    _add_list(_section(main, "Notes"), found.notes)
    signatures = _section(main, "Signatures")
    _add(signatures, "p", "Numbers are comparable only if their signatures are the same.")
    _add_list(signatures, list(found.signatures.values()))
    return f"<!doctype html>\n{tostring(root, encoding='unicode', method='html')}\n", problems


def highest(winner: str, won: int, images: int) -> str:
    """Return the heading of the images that a system won."""
    return f"{winner}: the highest CIDEr on {won:,} of {counted(images, 'image')}"


def scaled(metric: str, value: float) -> float:
    """Return a score as papers print it."""
    return 100 * value if metric in PERCENT else value


def _add(parent: Element, tag: str, text: str = "", kind: str = "", **attributes: str) -> Element:
    added = SubElement(parent, tag, {**attributes, **({"class": kind} if kind else {})})
    added.text = on_one_line(text)
    return added


def _add_head(root: Element, title: str, style: str) -> None:
    head = SubElement(root, "head")
    SubElement(head, "meta", charset="utf-8")
    policy = {"http-equiv": "Content-Security-Policy", "content": policy_of(style, None, "data:")}
    SubElement(head, "meta", policy)
    SubElement(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    SubElement(head, "meta", name="color-scheme", content="light dark")
    SubElement(head, "meta", name="referrer", content="no-referrer")
    _add(head, "title", title)
    SubElement(head, "style").text = style


def _section(main: Element, title: str) -> Element:
    section = SubElement(main, "section")
    _add(section, "h2", title)
    return section


def _add_list(parent: Element, lines: Sequence[str]) -> None:
    listed = SubElement(parent, "ul")
    for line in lines:
        _add(listed, "li", line)


def _add_table(
    parent: Element, headers: Sequence[str], words: int, title: str
) -> Callable[[Sequence[str]], Element]:
    """Add a table, and return the function that adds a row to it.

    Args:
        parent: What it is added to.
        headers: The names of the columns.
        words: How many columns from the left have words, and not numbers.
        title: What the table is, for those who do not see it.
    """
    # A keyboard can only scroll what has the focus.
    scroll = SubElement(
        parent, "div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": title}
    )
    table = SubElement(scroll, "table")
    head = SubElement(SubElement(table, "thead"), "tr")
    for at, name in enumerate(headers):
        _add(head, "th", name, "number" if at >= words else "", scope="col")
    rows = SubElement(table, "tbody")

    def add_row(cells: Sequence[str]) -> Element:
        row = SubElement(rows, "tr")
        _add(row, "th", cells[0], scope="row")
        for at, cell in enumerate(cells[1:], 1):
            _add(row, "td", cell, "number" if at >= words else "")
        return row

    return add_row


def _add_scores(section: Element, found: Comparison) -> None:
    _add(section, "p", f"Scores are x100, as papers print them. {RANKS}")
    metrics = list(found.signatures)
    add_row = _add_table(section, ["System", *metrics], 1, "Scores and ranks")
    for name, of in found.values.items():
        ranks = found.ranks[name]
        cells = [f"{scaled(m, of[m]):.2f} ({ranks[m]})" for m in metrics]
        row = add_row([name, *cells])
        for cell, metric in zip(row[1:], metrics, strict=True):
            if ranks[metric] == 1:
                bold = SubElement(cell, "b")
                bold.text, cell.text = cell.text, None


def _add_differences(section: Element, found: Comparison) -> None:
    headers = ["Metric", "First", "Second", "Difference", "95 % interval", "p", "p (Holm)"]
    add_row = _add_table(section, headers, 3, "Differences")
    for one in found.differences:
        low, difference, high = (
            f"{scaled(one.metric, value):+.2f}" for value in (one.low, one.difference, one.high)
        )
        p = [f"{one.p:.4f}", f"{one.p_holm:.4f}"]
        add_row([one.metric, one.first, one.second, difference, f"{low} .. {high}", *p])


def _add_images(
    section: Element, found: Comparison, images: Sequence[ImageId], photos: PhotoSource | None
) -> list[str]:
    problems = []
    cards = SubElement(section, "ul", {"class": "cards"})
    for image in images:
        card = SubElement(cards, "li", {"class": "card" if photos else "card bare"})
        if photos and (problem := _add_photo(card, found, image, photos)):
            problems.append(problem)
        words = SubElement(card, "div")
        _add(words, "h3", f"Image {image}")
        table = SubElement(words, "table", {"class": "captions"})
        head = SubElement(SubElement(table, "thead"), "tr")
        for name, kind in (("System", ""), ("Caption", ""), ("CIDEr", "number")):
            _add(head, "th", name, kind, scope="col")
        rows = SubElement(table, "tbody")
        for name, captions in found.captions.items():
            row = SubElement(rows, "tr")
            _add(row, "th", name, scope="row")
            _add(row, "td", captions[image], "text")
            _add(row, "td", f"{100 * found.ciders[name][image]:.1f}", "number")
        _add(words, "p", "References:", "muted")
        references = SubElement(words, "ul", {"class": "references"})
        for text in found.references[image]:
            _add(references, "li", text)
    return problems


def _add_photo(card: Element, found: Comparison, image: ImageId, photos: PhotoSource) -> str | None:
    """Add the photo of an image; where there is none, say why and return it."""
    figure = SubElement(card, "figure")
    name = found.file_names.get(image)
    try:
        if name is None:
            raise UserError(f"image {image}: the references do not name its photo")
        photo = decode(photos.read(name), name)
    except UserError as error:
        _add(figure, "div", "no photo", "photo gone")
        _add(figure, "figcaption", str(error))
        return str(error)
    photo.thumbnail((_SIDE, _SIDE))
    packed = io.BytesIO()
    photo.save(packed, format="WEBP", quality=80)
    source = f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
    SubElement(figure, "img", {"class": "photo", "src": source, "alt": f"photo of image {image}"})
    _add(figure, "figcaption", name)
    return None
