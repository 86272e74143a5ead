"""Every link between documents leads to a file, and its anchor to a heading there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """Those that GitHub makes of headings: in lower case, punctuation taken out, hyphens for spaces, numbered where they repeat."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()).replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found


def broken(document: Path, text: str) -> list[str]:
    """The relative links in a document that lead nowhere."""
    wrong = []
    for target in _LINK.findall(_CODE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if (
            (file != document and not file.exists())
            or not file.is_relative_to(ROOT)
            or (anchor and anchor not in anchors(text if file == document else file.read_text("utf-8")))
        ):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken(document, document.read_text("utf-8")) == []


def test_what_leads_nowhere_is_found() -> None:
    text = "# A b, c!\n## `x`\n## `x`\n[1](#a-b-c) [2](#x-1) [3](#none) [4](none.md) [5](README.md#none) [6](https://example.org/none) [7](../outside.md) `[8](none)`\n"
    assert broken(ROOT / "X.md", text) == ["#none", "none.md", "README.md#none", "../outside.md"]
