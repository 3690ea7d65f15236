"""index.html: one file that needs no network and works from a file manager. Its parts lie beside this file.

Nothing in it is trusted: what a system says is put into JSON that cannot end its element, and into the page as text; and a policy lets no
script, style or picture in but those that stand in the file, or photos that lie beside it.
"""

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template
from typing import Any

from dsacap.common.files import sha256, write_text
from dsacap.reporting.page.content import content_of
from dsacap.runs.layout import Layout

_HERE = Path(__file__).parent
_SCRIPTS = (
    "page.js",
    "find.js",
    "photos.js",
    "inside.js",
    "plots.js",
    "tradeoff.js",
    "start.js",
)  # one after the other


def write_page(layout: Layout) -> int:
    """Writes index.html from the table and the result files; its size in bytes. UserError where there is no table."""
    page = assemble(content_of(layout), sha256(layout.table.with_suffix(".json")))
    write_text(layout.page, page)
    return len(page.encode())


def assemble(content: dict[str, Any], table: str) -> str:
    """The page of what is shown (see content.py), of the table whose JSON has the sha256 `table`."""
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    photos = "data:" if content["photos"]["embedded"] else "'self' file:"
    policy = f"default-src 'none'; script-src {_hash_of(script)}; style-src {_hash_of(style)}; img-src {photos}; base-uri 'none'"
    return Template((_HERE / "template.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title_of(content["name"])),
        policy=html.escape(f"{policy}; form-action 'none'"),
        table=table,
        style=style,
        content=_json_in_html(content),
        script=script,
    )


def title_of(name: str) -> str:
    """The title of the page of a data set, by which it is known."""
    return f"{name}: captions of every system"


def _json_in_html(content: Any) -> str:
    """JSON in which no `</script>` and no `<!--` can stand."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _hash_of(text: str) -> str:
    """As a Content-Security-Policy names what may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
