"""The HTML of a page: one file that needs no network and opens from a file manager.

Its scripts, its style and its template are in this folder.

Captions are not trusted. They are embedded as JSON that cannot end its HTML element, and shown as
text. A content security policy admits no script, style or image other than those in the file, and
photos from the reader's disk.
"""

import html
import json
import re
from pathlib import Path
from string import Template
from typing import Any

from dsacap.common.printable import printable
from dsacap.reporting.policy import policy_of
from dsacap.reporting.series_style import colour_rules

_HERE = Path(__file__).parent
_SCRIPTS = (  # concatenated in this order
    "page.js",
    "find.js",
    "photos.js",
    "inside.js",
    "plots.js",
    "results.js",
    "tradeoff.js",
    "start.js",
)


def assemble(content: dict[str, Any], table: str | None = None) -> str:
    """Return the HTML of the page.

    Args:
        content: What it shows; see `content_of`.
        table: The sha256 of the table.json that it was made from, if it was.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8") + colour_rules()
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    photos = "data:" if content["photos"]["embedded"] else "'self' file:"
    return Template((_HERE / "template.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(printable(content["title"])),
        policy=html.escape(policy_of(style, script, photos)),
        table=f'<meta name="table" content="sha256:{table}">\n' if table else "",
        style=style,
        content=_json_in_html(content),
        script=script,
    )


def _json_in_html(content: Any) -> str:
    """JSON without `</script>`, `<!--` and halves of characters, which no file can hold."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
