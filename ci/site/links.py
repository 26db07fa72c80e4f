"""A hook of MkDocs: what the documents link to outside of `docs/` is on the site, too.

A document is read on the site and in the checkout, where it links to charts, code and other READMEs. Such a README
becomes a page, any other file is shown as text, and a folder as the list of its files. They are below `files/` on the
site. The navigation is made from the tables of `docs/README.md`, so that there is one index.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COPIES = "files/"
DIAGRAMS = """import mermaid from "https://cdn.jsdelivr.net/npm/mermaid@11/dist/mermaid.esm.min.mjs";
mermaid.initialize({ startOnLoad: true });
"""

_LINK = re.compile(r"\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
_ROW = re.compile(r"^\| \[[^]]+\]\((?P<path>[^)]+\.md)\) \|", re.MULTILINE)
_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation: the index, and the documents of each of its sections."""
    _, *parts = _SECTION.split((DOCS / "README.md").read_text())
    config.nav = [{"Documentation": "README.md"}]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        config.nav.append({title: [match["path"] for match in _ROW.finditer(text)]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the documents, and the pages that are added, link to; and the script that draws the diagrams."""
    files.append(File.generated(config, "diagrams.js", content=DIAGRAMS))
    pages = [file.src_uri for file in files.documentation_pages()]
    while pages:
        source = _source(pages.pop())
        for match in _LINK.finditer(source.read_text()):
            target = (source.parent / match["path"]).resolve()
            uri = _uri(target)
            if uri is None or files.get_file_from_path(uri) is not None:
                continue
            files.append(File.generated(config, uri, content=_text(target)))
            if uri.endswith(".md"):
                pages.append(uri)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links lead to where their targets are on the site. A link to nothing is left for MkDocs to report."""
    source = _source(page.file.src_uri)
    up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)

    def replaced(match: re.Match[str]) -> str:
        uri = _uri((source.parent / match["path"]).resolve())
        return match[0] if uri is None else f"]({up}{uri}{match['anchor'] or ''})"

    return _LINK.sub(replaced, markdown)


def _source(uri: str) -> Path:
    """Return the file in the checkout that a page is made from."""
    return ROOT / uri.removeprefix(COPIES) if uri.startswith(COPIES) else DOCS / uri


def _uri(target: Path) -> str | None:
    """Return where a file or folder of the checkout is on the site, or None if there is no such file."""
    if not target.exists() or not target.is_relative_to(ROOT):
        return None
    if target.is_relative_to(DOCS) and target.is_file():
        return target.relative_to(DOCS).as_posix()
    return f"{COPIES}{target.relative_to(ROOT).as_posix()}{'' if target.suffix == '.md' else '.txt'}"


def _text(target: Path) -> str:
    if target.is_file():
        return target.read_text()
    paths = (path.relative_to(ROOT).as_posix() for path in target.rglob("*") if path.is_file())
    return "".join(f"{path}\n" for path in sorted(paths) if "__pycache__" not in path)
