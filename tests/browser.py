"""The browser in which the page is tested (Debian: apt-get install chromium), if there is one."""

import re
import shutil

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
WITH_BROWSER = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def files_of(dom: str) -> list[str]:
    """Return the files of the photos shown, in their order."""
    return re.findall(r'<article class="card" aria-label="([^"]+)"', dom)
