"""What people use instead, in a virtual environment of its own: img2dataset, and Scrapy's FilesPipeline. Both write plain files.

img2dataset in two ways: without resizing, in which it decodes every image and encodes it anew (its way to refuse what is no image), and with
the bytes left alone and not looked at.

Each is timed by its own clock, from the beginning of its first download to the end of its last, so that the time it takes to start isn't held
against it. Neither keeps a queue or a status, nor makes sure that what it wrote is on the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING

from bench.crew import ROOT
from bench.measure import BenchError
from services.local.children import Child
from services.local.logs import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PINNED = ROOT / "bench" / "peers.txt"
SPIDER = "bench/scrapy_spider.py"
PROCESSES, THREADS = 4, 32
SHARDS_A_PROCESS = 4
CONCURRENT = 128
SECONDS = 300.0
IMG2DATASET = (
    f"img2dataset --processes_count {PROCESSES} --thread_count {THREADS} --output_format files --resize_mode no --retries 0 --enable_wandb False"
)
UNTOUCHED = f"{IMG2DATASET} --disable_all_reencoding True"
SCRAPY = f"scrapy runspider {SPIDER} -s CONCURRENT_REQUESTS={CONCURRENT} -s CONCURRENT_REQUESTS_PER_DOMAIN={CONCURRENT}"
COMMANDS = {"img2dataset": IMG2DATASET, "img2dataset, bytes untouched": UNTOUCHED, "scrapy": SCRAPY}


class Peers:
    """The peers, installed in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "peers"
        self._stamp = self._folder / "installed.txt"
        self.versions = dict(line.split("==") for line in PINNED.read_text("utf-8").split())

    @property
    def installed(self) -> bool:
        """Whether they are there, in the versions that are pinned."""
        return self._stamp.exists() and self._stamp.read_text("utf-8") == PINNED.read_text("utf-8")

    async def install(self, say: Callable[[str], None]) -> None:
        """Make the environment, if it isn't there. Raises BenchError."""
        if self.installed:
            return
        say(f"Installing {' and '.join(self.versions)} with pip (some 900 MB) ...")
        log = self._folder.with_suffix(".log")
        await _run("venv", [sys.executable, "-m", "venv", "--clear", self._folder], log, seconds=120)
        await _run("pip", [self._folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", PINNED], log, seconds=1200)
        self._stamp.write_text(PINNED.read_text("utf-8"), "utf-8")

    async def measure(self, urls: Sequence[str], folder: Path) -> dict[str, float]:
        """Images a second of each peer, one after the other. Raises BenchError."""
        return {
            "img2dataset": await self._img2dataset(IMG2DATASET, urls, folder),
            "img2dataset, bytes untouched": await self._img2dataset(UNTOUCHED, urls, folder),
            "scrapy": await self._scrapy(urls, folder),
        }

    async def _img2dataset(self, command: str, urls: Sequence[str], folder: Path) -> float:
        listed, output = _fresh(folder / "img2dataset", urls)
        shard = max(1, -(-len(urls) // (PROCESSES * SHARDS_A_PROCESS)))  # by default 10,000, which one process would have for itself
        options: list[str | Path] = ["--url_list", listed, "--output_folder", output, "--number_sample_per_shard", str(shard)]
        await self._do(command, options, folder / "img2dataset.log")
        stats: list[dict[str, float]] = [json.loads(path.read_text("utf-8")) for path in output.glob("*_stats.json")]
        _check("img2dataset", sum(1 for _ in output.glob("*/*.jpg")), len(urls), folder / "img2dataset.log")
        took = max(part["end_time"] for part in stats) - min(part["start_time"] for part in stats)
        return len(urls) / took

    async def _scrapy(self, urls: Sequence[str], folder: Path) -> float:
        listed, output = _fresh(folder / "scrapy", urls)
        report = folder / "scrapy.json"
        settings = [f"URLS={listed}", f"FILES_STORE={output}", f"REPORT={report}"]
        await self._do(SCRAPY, [f"--set={setting}" for setting in settings], folder / "scrapy.log")
        _check("scrapy", sum(1 for _ in output.glob("full/*")), len(urls), folder / "scrapy.log")
        seconds: float = json.loads(report.read_text("utf-8"))["seconds"]
        return len(urls) / seconds

    async def _do(self, command: str, options: Sequence[str | Path], log: Path) -> None:
        program, *words = [str(ROOT / word) if word == SPIDER else word for word in command.split()]
        await _run(program, [self._folder / "bin" / program, *words, *options], log, seconds=SECONDS)


def _fresh(folder: Path, urls: Sequence[str]) -> tuple[Path, Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = folder / "urls.txt"
    listed.write_text("".join(f"{url}\n" for url in urls), "utf-8")
    return listed, folder / "output"


def _check(name: str, found: int, wanted: int, log: Path) -> None:
    if found != wanted:
        raise BenchError(f"{name} wrote {found:,} of {wanted:,} images. {tail(log)}")


async def _run(name: str, command: Sequence[str | Path], log: Path, *, seconds: float) -> None:
    # Straight to the origin, whatever proxy this machine has for the rest of the world; and no looking for newer versions.
    environ = {key: value for key, value in os.environ.items() if name in {"venv", "pip"} or not key.lower().endswith("_proxy")}
    child = Child(name, command, environ={**environ, "NO_ALBUMENTATIONS_UPDATE": "1"}, log=log, grace=2)
    try:
        async with asyncio.timeout(seconds):
            await child.start()
            code = await child.wait(every=0.05)
    except TimeoutError:
        raise BenchError(f"{name} wasn't done within {seconds:g} s. {tail(log)}") from None
    finally:
        child.kill()
    if code:
        raise BenchError(f"{name} ended with {code}. {tail(log)}")
