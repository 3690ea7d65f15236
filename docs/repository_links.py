"""Hook of mkdocs: the files of the repository that the pages link to become part of the site.

The pages of docs/ link to files outside docs/, such as ../results/scenes/table.md, by the paths
that work in the repository. On the site these files are below `repository/`, and the links are
rewritten to match, so that `mkdocs build --strict` checks them like all others.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = "repository"
_LINK = re.compile(
    r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)"
)  # the target of a relative link, without its anchor


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to, what those files link to, and so on."""
    pages = [file.src_uri for file in files.documentation_pages()]
    while pages:
        page = pages.pop()
        for target in map(_site_path, _linked_from(page)):
            if (
                target.startswith(f"{OUTSIDE}/")
                and files.get_file_from_path(target) is None
                and _in_repository(target).is_file()
            ):
                files.append(
                    File.generated(config, target, abs_src_path=str(_in_repository(target)))
                )
                if target.endswith(".md"):
                    pages.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite relative links to where the files are on the site."""
    here = page.file.src_uri
    return _LINK.sub(
        lambda link: (
            link[1] + relpath(_site_path(_resolved(here, link[2])), PurePosixPath(here).parent)
        ),
        markdown,
    )


def _linked_from(page: str) -> list[str]:
    return [
        _resolved(page, link[2])
        for link in _LINK.finditer(_in_repository(page).read_text(encoding="utf-8"))
    ]


def _resolved(page: str, link: str) -> str:
    """The path in the repository of what a page links to."""
    return normpath(_in_repository(page).parent.relative_to(ROOT) / link)


def _site_path(path: str) -> str:
    """A path in the repository as a path of the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"


def _in_repository(site_path: str) -> Path:
    inside = site_path.startswith(f"{OUTSIDE}/")
    return ROOT / site_path.removeprefix(f"{OUTSIDE}/") if inside else ROOT / "docs" / site_path
