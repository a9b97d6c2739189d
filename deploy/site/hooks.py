"""What makes docs/, which is read on a disk, a site: files of the repository that pages link to come along.

A page says `[results](../benchmarks/results.md)`. A site ends at its folder, so each such file is put under `source/`
and the link leads there; a folder becomes a page that lists it, and `decisions/` gets such a page, too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_DOCS = "docs"
_SOURCE = "source"
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add what pages link to outside docs/, and what that links to in turn."""
    waiting = [each for each in files if each.src_uri.endswith(".md")]
    while waiting:
        page = waiting.pop()
        for target in _outside(page.src_uri, page.content_string):
            uri = _uri(target)
            if files.get_file_from_path(uri) is None:
                made = _file(target, uri, config)
                files.append(made)
                if uri.endswith(".md"):
                    waiting.append(made)
    decisions = sorted(each.src_uri for each in files if re.match(r"decisions/\d", each.src_uri))
    lines = [f"- [{_title(ROOT / _DOCS / uri)}]({uri.removeprefix('decisions/')})" for uri in decisions]
    if files.get_file_from_path("decisions/README.md") is None:
        text = "# Decisions\n\n" + "\n".join(lines) + "\n"
        files.append(File.generated(config, "decisions/README.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to where the files are on the site."""
    uri = page.file.src_uri
    folder = posixpath.dirname(uri)

    def led(match: re.Match[str]) -> str:
        target = _target(uri, match[1])
        if target is None:
            return match[0]
        return posixpath.relpath(_uri(target), folder or ".") + (match[2] or "")

    return _LINK.sub(led, markdown)


def _outside(uri: str, markdown: str) -> Iterator[str]:
    for match in _LINK.finditer(markdown):
        target = _target(uri, match[1])
        if target is not None and target.partition("/")[0] != _DOCS:
            yield target


def _target(uri: str, link: str) -> str | None:
    """The path in the repository that a link of this page means; None for a file that docs/ has itself."""
    here = uri.removeprefix(f"{_SOURCE}/") if uri.startswith(f"{_SOURCE}/") else f"{_DOCS}/{uri}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link))
    inside_docs = here.startswith(f"{_DOCS}/") and target.startswith(f"{_DOCS}/")
    if target.startswith("..") or not (ROOT / target).exists() or (inside_docs and (ROOT / target).is_file()):
        return None
    return target


def _uri(target: str) -> str:
    """Where a path of the repository is on the site."""
    if target.startswith(f"{_DOCS}/"):
        within = target.removeprefix(f"{_DOCS}/")
        return within if (ROOT / target).is_file() else f"{within}/README.md"
    return f"{_SOURCE}/{target}" if (ROOT / target).is_file() else f"{_SOURCE}/{target}/README.md"


def _file(target: str, uri: str, config: MkDocsConfig) -> File:
    path = ROOT / target
    if path.is_file():
        return File.generated(config, uri, abs_src_path=str(path))
    own = path / "README.md"
    if own.exists():
        return File.generated(config, uri, abs_src_path=str(own))
    names = sorted(each.name for each in path.iterdir() if not each.name.startswith((".", "_")))
    lines = [f"- [{name}]({name}{'/README.md' if (path / name).is_dir() else ''})" for name in names]
    return File.generated(config, uri, content=f"# {target}\n\n" + "\n".join(lines) + "\n")


def _title(path: Path) -> str:
    return path.read_text().partition("\n")[0].lstrip("# ")
