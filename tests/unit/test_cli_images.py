"""Listing, showing, saving and exporting, over an api that says what a test wants, true or not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import tarfile
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rich.console import Console

from services.cli.output import Output
from tests.cli import HOSTILE, Answers, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Captured = pytest.CaptureFixture[str]
ID, OTHER, BATCH = "a" * 26, "b" * 26, "c" * 32
BODY = b"bytes of an image"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BOWERBIRD_URL", "BOWERBIRD_KEY", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def image(name: str = ID, body: bytes = BODY, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "status": "stored", "source_url": f"https://example.org/{name}.jpg", "stored_url": f"/images/{name}/content",
        "added_at": "2026-01-31T12:00:00.12Z", "completed_at": "2026-01-31T12:00:01Z", "format": "jpeg", "content_type": "image/jpeg",
        "width": 64, "height": 48, "size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "attempts": [], "next_attempt_at": None,
        "error": None, "checked_at": None, "page": None, "pages": [], "same_bytes": [], "alternatives": [], **more,
    }  # fmt: skip


def bytes_of(body: bytes = BODY, *, etag: str | None = None) -> httpx.Response:
    return httpx.Response(200, content=body, headers={"etag": etag or f'"{hashlib.sha256(body).hexdigest()}"', "content-type": "image/jpeg"})


def listed(*items: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, content=json.dumps({"items": items, "next": None}))


def serving(images: dict[str, bytes], *, first: Callable[[httpx.Request], httpx.Response | None] = lambda _: None) -> Answers:
    """An api that has these images."""

    def answer(request: httpx.Request) -> httpx.Response:
        if found := first(request):
            return found
        name = request.url.path.split("/")[2] if request.url.path.count("/") > 1 else ""
        if not name:
            return listed(*(image(name, body) for name, body in images.items()))
        if name not in images:
            return problem(404, "No image has this id.")
        return bytes_of(images[name]) if request.url.path.endswith("/content") else httpx.Response(200, json=image(name, images[name]))

    return Answers(by=answer)


def test_all_filters_reach_the_api_as_its_parameters() -> None:
    api = Answers(listed())
    given = (
        "--status failed --host example.org --format png --page https://x/?a&b --batch /batches/1 --after 2026-01-31 --before 2026-02-01T00:00+01:00"
    )
    assert api.run("ls", *given.split()) == 0
    assert dict(api.requests[0].url.params) == {
        "limit": "51", "status": "failed", "host": "example.org", "format": "png", "batch": "1", "url": "https://x/?a&b",
        "added_after": "2026-01-31T00:00:00+00:00", "added_before": "2026-02-01T00:00:00+01:00",
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [("--after", "soon"), ("--status", "gone"), ("--limit", "0"), ("--after", "99999999d")])
def test_a_filter_that_makes_no_sense_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert Answers().run("ls", *arguments) == 2


def test_so_many_and_no_more_and_that_there_are_more_is_said(capsys: Captured) -> None:
    assert Answers(listed(image(), image(OTHER))).run("ls", "-n", "1") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "id\tstatus\tadded (UTC)\tformat\tpixels\tsize\tURL\twhy",
        f"{ID}\tstored\t2026-01-31T12:00:00.12Z\tjpeg\t64x48\t{len(BODY)}\thttps://example.org/{ID}.jpg\t",
    ]
    assert "--all" in said.err


def test_all_pages_as_json_lines(capsys: Captured) -> None:
    api = Answers(httpx.Response(200, json={"items": [image()], "next": "https://elsewhere/images?cursor=x"}), listed(image(OTHER)))
    assert api.run("ls", "--all", "--json") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [ID, OTHER]
    assert [request.url.host for request in api.requests] == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("name", [ID, f"/images/{ID}", f"http://127.0.0.1:8000/images/{ID}", f"http://127.0.0.1:8000/images/{ID}/content"])
def test_an_image_is_named_by_its_id_or_address(name: str, capsys: Captured) -> None:
    api = Answers(httpx.Response(200, json=image()))
    assert api.run("show", name) == 0
    assert api.asked == [f"GET /images/{ID}"]
    assert f"id: {ID}" in capsys.readouterr().out


def test_or_by_its_url_with_all_that_is_in_it(capsys: Captured) -> None:
    api = Answers(httpx.Response(200, json=image()), httpx.Response(200, json=image()))
    assert api.run("show", "https://x/a?b=1&c=2#d") == 0
    assert dict(api.requests[0].url.params) == {"url": "https://x/a?b=1&c=2#d"}
    assert "status: stored" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["x.org/a.jpg", "A" * 26, "../stats", ""])
def test_what_is_neither_is_refused_before_anything_is_asked(name: str, capsys: Captured) -> None:
    assert Answers().run("show", name) == 1
    assert "neither an image's id" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [("ls",), ("ls", "--json"), ("show", ID), ("stats",), ("watch", BATCH), ("add", "https://a/", "--wait"), ("add", "https://a/"), ("rm", ID, "-y")],
)
def test_nothing_hostile_reaches_the_terminal_raw(arguments: tuple[str, ...], capsys: Captured) -> None:
    bad = dict.fromkeys(image(), HOSTILE) | {
        "attempts": [{"number": HOSTILE, "at": HOSTILE, "reason": HOSTILE, "detail": HOSTILE, "took_ms": HOSTILE}], "error": {"detail": HOSTILE},
        "page": {"images": {HOSTILE: 1}, "found": HOSTILE}, "pages": [HOSTILE], "queues": [{"name": HOSTILE, HOSTILE: HOSTILE}],
    }  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        if "batches" in request.url.path:
            item = {"url": HOSTILE, "outcome": HOSTILE, "image": HOSTILE, "detail": HOSTILE}
            body = {"id": BATCH, "accepted": 1, "images": {"failed": 1, HOSTILE: 1}, "items": [item]}
        else:
            body = {**bad, HOSTILE: HOSTILE} if request.url.path.count("/") > 1 or "stats" in request.url.path else {"items": [bad], "next": None}
        return problem(409, HOSTILE) if request.method == "DELETE" else httpx.Response(200, content=json.dumps(body))

    Answers(by=answer).run(*arguments)
    said = capsys.readouterr()
    assert "owned" in said.out + said.err or "failed" in said.out + said.err
    assert all(character.isprintable() or character in "\n\t" for character in said.out + said.err)


def test_an_image_is_saved_under_its_id_and_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    assert serving({ID: BODY}).run("get", ID) == 0
    assert serving({ID: BODY}).run("get", ID, "-o", "cat.jpg", "--json") == 0
    folder = tmp_path / "folder"
    folder.mkdir()
    assert serving({ID: BODY}).run("get", ID, "-o", str(folder)) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / f"{ID}.jpeg", tmp_path / "cat.jpg", folder / f"{ID}.jpeg")} == {
        f"{ID}.jpeg": BODY, "cat.jpg": BODY,
    }  # fmt: skip
    assert '"file": "cat.jpg"' in capsys.readouterr().out
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "cat.jpg").stat().st_mode & 0o777 == 0o666 & ~umask


class Broken(httpx.SyncByteStream):
    """A body that breaks off."""

    def __iter__(self) -> Iterator[bytes]:
        yield BODY[:5]
        raise httpx.ReadError("reset")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (bytes_of(BODY, etag=f'"{"0" * 64}"'), "their SHA-256 differs"),
        (bytes_of(BODY[:-1], etag=f'"{hashlib.sha256(BODY).hexdigest()}"'), "their SHA-256 differs"),
        (bytes_of(BODY, etag='"other"'), "no ETag"),
        (httpx.Response(200, stream=Broken(), headers={"etag": f'"{hashlib.sha256(BODY).hexdigest()}"'}), "broke off in the middle"),
        (problem(409, "The image is queued: there are no bytes to serve."), "is queued"),
    ],
)
def test_what_does_not_come_whole_leaves_what_was_there(answer: httpx.Response, says: str, tmp_path: Path, capsys: Captured) -> None:
    there = tmp_path / "cat.jpg"
    there.write_text("before")
    assert Answers(httpx.Response(200, json=image()), answer).run("get", ID, "-o", str(there)) == 1
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]
    assert there.read_text() == "before"


@pytest.mark.parametrize("arguments", [("get", ID, "-o"), ("export", "--tar")])
def test_a_pipe_is_written_into_and_stays_a_pipe(arguments: tuple[str, ...], tmp_path: Path) -> None:
    # A device would do as well, but must not be risked: whoever may do anything could replace it with a file.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert serving({ID: BODY}).run(*arguments, str(pipe)) == 0
    assert pipe.is_fifo()
    reader.join(20)
    assert BODY in came[0]
    assert names(tmp_path) == ["pipe"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    assert serving({ID: BODY}).run("get", ID, "-o", str(tmp_path / "link")) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("name", [f"{ID}.jpeg", "index.csv"])
def test_an_export_replaces_nothing_that_is_no_file(name: str, tmp_path: Path, capsys: Captured) -> None:
    os.mkfifo(tmp_path / name)
    assert serving({ID: BODY}).run("export", str(tmp_path)) == 1
    assert "isn't a file" in capsys.readouterr().err
    assert (tmp_path / name).is_fifo()
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("where", ["nowhere/cat.jpg", "file/cat.jpg"])
def test_a_place_that_cannot_be_written_is_a_sentence(where: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").touch()
    assert serving({ID: BODY}).run("get", ID, "-o", str(tmp_path / where)) == 1
    assert "can't be written: " in capsys.readouterr().err


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_export_has_files_and_an_index_and_is_continued(tmp_path: Path, capsys: Captured) -> None:
    images = {letter * 26: f"bytes of {letter}".encode() for letter in "abcdefgh"}
    out = tmp_path / "made" / "for it"
    assert serving(images).run("export", str(out)) == 0
    assert names(out) == sorted([*(f"{name}.jpeg" for name in images), "index.csv", "index.jsonl"])
    (out / f"{ID}.jpeg").write_bytes(b"bytes of x")
    (out / f"{OTHER}.jpeg").unlink()
    before = (out / f"{'c' * 26}.jpeg").stat().st_ino
    api = serving(images)
    assert api.run("export", str(out), "--json") == 0
    assert sorted(asked for asked in api.asked if "content" in asked) == [f"GET /images/{name}/content" for name in (ID, OTHER)]
    assert (out / f"{'c' * 26}.jpeg").stat().st_ino == before
    assert '"saved": 2,\n  "there": 6' in capsys.readouterr().out
    assert {name: (out / f"{name}.jpeg").read_bytes() for name in images} == images
    with (out / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == [line["file"] for line in lines] == [f"{name}.jpeg" for name in images]
    assert (lines[0]["sha256"], lines[0]["size"]) == (hashlib.sha256(images[ID]).hexdigest(), len(images[ID]))


def test_an_archive_has_the_same_in_a_folder_of_its_own(tmp_path: Path) -> None:
    images = {letter * 26: bytes([at]) * (1 << at) for at, letter in enumerate("abcdefghijklmnopqrstuv")}
    assert serving(images).run("export", "--tar", str(tmp_path / "out.tar")) == 0
    with tarfile.open(tmp_path / "out.tar") as archive:
        found = {member.name: file.read() for member in archive if (file := archive.extractfile(member))}
    assert {name: body for name, body in found.items() if "index" not in name} == {f"bowerbird/{name}.jpeg": body for name, body in images.items()}
    assert len(found["bowerbird/index.jsonl"].splitlines()) == len(images)
    assert names(tmp_path) == ["out.tar"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "A" * 26, "a" * 27])
def test_an_id_that_is_none_is_no_file(name: str, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert Answers(listed(image(name)), bytes_of()).run("export", str(out)) == 1
    assert "which is none" in capsys.readouterr().err
    assert names(out) == []
    assert names(tmp_path) == ["out"]


def test_a_format_that_is_none_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert Answers(listed(image(format="../x")), bytes_of()).run("export", str(tmp_path)) == 0
    assert f"{ID}.bin" in names(tmp_path)


def test_what_is_gone_or_damaged_is_named_and_the_others_are_saved(tmp_path: Path, capsys: Captured) -> None:
    tries = []

    def damaged(request: httpx.Request) -> httpx.Response | None:
        if request.url.path == f"/images/{OTHER}/content":
            tries.append(1)
            return bytes_of(b"other", etag=f'"{"0" * 64}"')
        return problem(404, "No image has this id.") if request.url.path == f"/images/{ID}/content" else None

    assert serving({ID: BODY, OTHER: BODY, "d" * 26: BODY}, first=damaged).run("export", str(tmp_path)) == 1
    said = capsys.readouterr()
    assert f"{ID}: No image has this id." in said.err
    assert f"{OTHER}: " in said.err
    assert len(tries) == 3
    assert "1 saved (17 B), 2 could not be had" in said.out
    assert names(tmp_path) == [f"{'d' * 26}.jpeg", "index.csv", "index.jsonl"]


def test_images_without_a_copy_are_counted(tmp_path: Path, capsys: Captured) -> None:
    assert Answers(listed(image(stored_url=None, status="failed"))).run("export", str(tmp_path)) == 0
    assert "1 without a copy" in capsys.readouterr().out


def test_an_outage_leaves_the_index_as_it_was_and_what_was_saved_is_there(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "index.csv").write_text("before")

    def first(request: httpx.Request) -> httpx.Response | None:
        return problem(500, "A fault.") if OTHER in request.url.path else None

    assert serving({ID: BODY, OTHER: BODY}, first=first).run("export", str(tmp_path)) == 1
    assert "goes on from here" in capsys.readouterr().err
    assert (tmp_path / "index.csv").read_text() == "before"
    assert names(tmp_path) == [f"{ID}.jpeg", "index.csv"]


@pytest.mark.parametrize(
    "arguments", [("export",), ("export", "a", "--tar", "b"), ("get",), ("add",), ("add", "u", "--file", "pyproject.toml"), ("rm",), ("watch",)]
)
def test_wrong_usage_ends_with_2_before_anything_is_asked(arguments: tuple[str, ...]) -> None:
    assert Answers().run(*arguments) == 2


def test_the_gallery_is_opened_or_named(capsys: Captured) -> None:
    opened: list[str] = []
    assert Answers().run("open", "--url", "https://user:secret@x.example/behind/", browse=lambda url: not opened.append(url)) == 0  # type: ignore[func-returns-value]
    assert opened == ["https://x.example/behind/"]
    assert Answers().run("open", browse=lambda _: False) == 1
    assert "The gallery is at http://127.0.0.1:8000/" in capsys.readouterr().err


def test_stats_show_whatever_there_is(capsys: Captured) -> None:
    found = {"images": {"stored": 1200, "failed": 3}, "rate": 1.5, "queues": [{"name": "storer.image-fetched", "messages": 1000, "consumers": 2}]}
    assert Answers(httpx.Response(200, json=found)).run("stats") == 0
    assert capsys.readouterr().out == (
        "images stored: 1,200\nimages failed: 3\nrate: 1.5\nqueue\tmessages\tconsumers\nstorer.image-fetched\t1,000\t2\n"
    )
    strange: list[object] = [[], [1], "x", None, [{}]]
    for queues in strange:
        assert Answers(httpx.Response(200, json={"queues": queues, "images": []})).run("stats") == 0
    assert Answers(problem(404, "Nothing.")).run("stats") == 1
    assert "has no statistics" in capsys.readouterr().err


def test_in_a_terminal_a_narrow_one_too_everything_of_a_list_is_readable() -> None:
    for width in (60, 200):
        screen = io.StringIO()
        output = Output(as_json=False, out=Console(file=screen, force_terminal=True, width=width))
        output.table(("id", "status", "URL"), [(ID, "stored", HOSTILE)], whole=("id", "status"))
        assert ID in screen.getvalue()
        assert not {"\x07", "\x9b", "\r"} & set(screen.getvalue())


def test_rm_asks_and_takes_urls_too(capsys: Captured) -> None:
    api = Answers(httpx.Response(200, json=image()), httpx.Response(204), problem(404, "No image has this id."))
    assert api.run("rm", "https://x/a.jpg", OTHER, "--images", confirm=lambda _: True) == 1
    assert api.asked[1:] == [f"DELETE /images/{ID}?images=true", f"DELETE /images/{OTHER}?images=true"]
    assert "1 of 2 were deleted." in capsys.readouterr().err
    assert Answers().run("rm", ID, confirm=lambda _: False) == 1
