"""The site that `make site` builds from these pages: every page has a place in it, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.reader import ROOT


def build(config: Path, into: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(into)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )


def test_every_page_is_in_it_with_what_pages_link_to(tmp_path: Path) -> None:
    built = build(ROOT / "mkdocs.yml", tmp_path)
    assert built.returncode == 0, built.stderr
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    there = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.html")}
    expected = {page.parent / "index" if page.name == "README.md" else page.with_suffix("") for page in pages}
    assert expected <= there
    assert 'href="source/benchmarks/results.html' in (tmp_path / "scale.html").read_text()
    assert (tmp_path / "source/benchmarks/results.html").exists()
    elsewhere = [
        path
        for path in tmp_path.rglob("*.html")
        if re.search(r'(?:src|href)="[a-z]*:?//[^"]*\.(?:js|css|woff2?)"', path.read_text())
    ]
    assert elsewhere == []  # a page fetches nothing from anywhere


def test_a_link_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: {docs}\nhooks: [{ROOT / 'deploy/site/hooks.py'}]\n"
        "nav: [README.md]\n"
    )
    for text, complaint in (("[a](b.md)", "b.md"), ("# A\n\n[a](#b)", "#b"), ("[a](../nowhere.md)", "nowhere.md")):
        (docs / "README.md").write_text(text)
        built = build(config, tmp_path / "site")
        assert built.returncode != 0
        assert complaint in built.stderr, built.stderr
    (docs / "README.md").write_text("# A\n\n[a](#a)\n")
    assert build(config, tmp_path / "site").returncode == 0
