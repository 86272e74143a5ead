"""tests/documents.py: a document that says something else than what happens is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.documents import Command, Ids, Shell, Then, follow, read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

ONE, OTHER = "4cqso75qtyka5r5ss25iivu6nk", "abcdefghijklmnopqrstuvwxyz"


def test_commands_outputs_and_markers_are_read_in_their_order() -> None:
    text = "# A\n```console\n$ a \\\n> b\nout\n\nput\n$ c\n```\n<!-- then: later -->\n```sh\n$ not this\n```\n```console\n$ d\n```\n"
    assert list(read(text)) == [
        Command(3, "a \\\nb", ["out", "", "put"]), Command(8, "c", []), Then(10, "later"), Command(15, "d", [])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "came", "matches"),
    [
        ("a", "a\n", True),
        ("a", "b\n", False),
        ("a", "a\nb\n", False),
        ("", "", False),
        ("a …, c", "a b, c\n", True),
        ("a …, c", "a b\n", False),
        ("a\n…\nc", "a\nb\nb\nc\n", True),
        ("a\n…\nc", "a\nc\n", True),
        ("a\n…\nc", "a\nb\n", False),
        ("at 2026-01-02T03:04:05Z", "at 2027-11-12T13:14:15.678000Z\n", True),
        ("at 2026-01-02T03:04:05Z", "at noon\n", False),
        ("a.c", "abc\n", False),
        (f"{ONE} {ONE}", f"{OTHER} {OTHER}\n", True),
        (f"{ONE} {ONE}", f"{OTHER} {ONE}\n", False),
        (ONE, "x\n", False),
    ],
)
def test_what_matches(expected: str, came: str, matches: bool) -> None:  # noqa: FBT001
    assert Ids().match(expected.split("\n"), came) == matches


def test_an_id_stands_for_the_one_that_came_in_its_place() -> None:
    ids = Ids()
    assert ids.match([f"/images/{ONE}"], f"/images/{OTHER}\n")
    assert ids.replace(f"get {ONE}/content") == f"get {OTHER}/content"
    assert ids.match([ONE], f"{OTHER}\n")
    assert not ids.match([ONE], f"{ONE}\n")


async def test_a_document_is_followed_in_one_shell(tmp_path: Path) -> None:
    document, said = tmp_path / "guide.md", []
    document.write_text(
        "```console\n$ x=1; cat\n$ echo $x at port 80\n1 at port 80\n$ printf half; false\nhalf\n```\n<!-- then: later -->\n", "utf-8"
    )

    async def later() -> None:
        said.append("later")

    async with Shell(tmp_path) as shell:
        assert await follow(document, shell, instead={"port 80": "port 81"}, then={"later": later}) == 3
        assert said == ["later"]
        document.write_text("```console\n$ echo one\ntwo\n```\n", "utf-8")
        with pytest.raises(AssertionError, match=r"guide.md, line 2: \$ echo one"):
            await follow(document, shell, instead={})
