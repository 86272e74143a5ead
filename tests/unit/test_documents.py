"""tests/documents.py: a document that says something else than what happens is found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.documents import Command, Ids, Shell, Then, as_seen, follow, read

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


@pytest.mark.parametrize(
    ("expected", "came", "matches"),
    [
        ("500 URLs in 7 s: 460 stored", "12 URLs in 33 ms: 1,460 stored\n", True),
        ("500 URLs in 7 s: 460 stored", "500 URLs in 7 s: 460 failed\n", False),
        ("next after 3 min", "next after 2 s\n", True),
        (" a    b\n ─────", " a  b\n ─────────\n", True),
        ("a b", "ab\n", False),
        ("size: 717 bytes", "size: none bytes\n", False),
        (f"id: {ONE}, 7 of it: {ONE}", f"id: {OTHER}, 8 of it: {OTHER}\n", True),
        (f"id: {ONE}, 7 of it: {ONE}", f"id: {OTHER}, 8 of it: {ONE}\n", False),
    ],
)
def test_what_has_the_same_shape(expected: str, came: str, matches: bool) -> None:  # noqa: FBT001
    assert Ids(shape=True).match(expected.split("\n"), came) == matches


async def test_a_terminal_is_one_and_leaves_the_text(tmp_path: Path) -> None:
    async with Shell(tmp_path, columns=77) as shell:
        assert (
            await shell.run("[ -t 1 ] && [ -t 2 ] && stty size <&1 && printf '\\033[31mred\\033[0m\\n'; exit_with() { return 7; }; exit_with")
            == "50 77\nred\n"
        )
        assert await shell.run("echo $?") == "7\n"


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("a\r\nb\r\n", "a\nb\n"),
        ("\x1b[1;31mred\x1b[0m\n", "red\n"),
        ("10 %\r20 %\n", "20 %\n"),
        ("bar\n1 of 2\r\x1b[2K\x1b[1A\x1b[2Kbar\n2 of 2\r\x1b[2K\x1b[1A\x1b[2Kdone\n", "done\n"),
        ("bar\n\x1b[1A\x1b[2K", ""),
    ],
)
def test_what_a_terminal_shows_in_the_end(written: str, seen: str) -> None:
    assert as_seen(written) == seen


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
