"""What browser tests of the page share. They need Chromium (Debian: apt-get install chromium)."""

import html
import json
import os
import re
import subprocess

import pytest

from browser import CHROMIUM
from dsacap.reporting.page import html_file
from dsacap.reporting.page.html_file import assemble


@pytest.fixture
def opened(tmp_path):
    """(page, address after #) -> the document that its scripts made, up to the first script."""

    def dom(page: str, address: str = "") -> str:
        (tmp_path / "index.html").write_text(page, encoding="utf-8")
        options = [
            "--headless",
            "--disable-gpu",
            "--virtual-time-budget=10000",
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        options += (
            ["--no-sandbox"] if os.geteuid() == 0 else []
        )  # Chromium's own sandbox wants no root
        command = [
            CHROMIUM,
            *options,
            "--dump-dom",
            f"{(tmp_path / 'index.html').as_uri()}#{address}",
        ]
        made = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=120
        ).stdout
        return made.split('<script type="application/json"')[0]

    return dom


@pytest.fixture
def seen(opened, tmp_path, monkeypatch):
    """(page's content, addresses after #) -> what the page shows at each, from one browser."""

    def views(content: dict, *addresses: str) -> list[str]:
        (tmp_path / "visit.js").write_text(f"""
            const seen = {json.dumps(addresses)}.map((address) => {{
              history.replaceState(null, "", `#${{address}}`);
              render();
              return document.body.innerHTML.split('<script type="application/json"')[0];
            }});
            document.title = JSON.stringify(seen);
        """)
        scripts = (*html_file._SCRIPTS, str(tmp_path / "visit.js"))
        with monkeypatch.context() as patched:
            patched.setattr(html_file, "_SCRIPTS", scripts)
            dom = opened(assemble(content))
        return json.loads(html.unescape(re.search("<title>(.*?)</title>", dom, re.DOTALL)[1]))

    return views
