"""Pleasant pictures of our own making: hills under a sky, each by its seed, in a handful of sizes."""

from __future__ import annotations

import io
import math
import random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

SIZES = ((640, 480), (720, 480), (480, 600), (640, 640), (800, 450))
_SKIES = (
    ("#f9d9a8", "#5b7fb9"), ("#fbe3d0", "#c76b6b"), ("#dff1f4", "#4a90b8"), ("#f6e7c1", "#7f6aa8"), ("#e9f0d8", "#5f9a8f"), ("#fcd0b4", "#343f6e"),
)  # fmt: skip
_LANDS = ("#27415c", "#2f5d50", "#5a4a63", "#7a4b3a", "#3d5a3a", "#364b6b")
_NAMES = ("hills", "harbour", "morning", "ridge", "valley", "dusk", "orchard", "shore", "meadow", "pass")


class Picture(NamedTuple):
    """A picture in a file. `name` is the file's."""

    name: str
    body: bytes
    width: int
    height: int
    format: str


def picture(seed: int) -> Picture:
    """The picture with this seed: always the same."""
    chance = random.Random(seed)
    width, height = chance.choice(SIZES)
    bottom, top = chance.choice(_SKIES)
    canvas = ImageOps.colorize(Image.linear_gradient("L").resize((width, height)), top, bottom)
    draw = ImageDraw.Draw(canvas)
    x, y, radius = chance.uniform(0.15, 0.85) * width, chance.uniform(0.15, 0.45) * height, chance.uniform(0.05, 0.1) * height
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=chance.choice(("#fff6dc", "#ffe9b8", "#fdf8ef")))
    land = chance.choice(_LANDS)
    for layer in range(4):
        _hills(canvas, chance, at=0.5 + 0.13 * layer, colour=_between(bottom, land, 0.35 + 0.2 * layer))
    extension, name = ("webp", "WEBP") if seed % 5 == 0 else ("jpg", "JPEG")
    file = io.BytesIO()
    canvas.save(file, name, quality=82)
    return Picture(f"{chance.choice(_NAMES)}-{seed:03}.{extension}", file.getvalue(), width, height, name.lower())


def _hills(canvas: Image.Image, chance: random.Random, *, at: float, colour: tuple[int, int, int]) -> None:
    width, height = canvas.size
    waves = [(chance.uniform(0.5, 3.5), chance.uniform(0, math.tau), chance.uniform(0.02, 0.06)) for _ in range(3)]

    def ridge(x: int) -> float:
        return height * (at + sum(size * math.sin(x / width * math.tau * often + shift) for often, shift, size in waves))

    line = [(x, ridge(x)) for x in range(0, width + 8, 8)]
    ImageDraw.Draw(canvas).polygon([(0, height), *line, (width, height)], fill=colour)


def _between(one: str, other: str, share: float) -> tuple[int, int, int]:
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]), strict=True)
    red, green, blue = (round(low + (high - low) * share) for low, high in pairs)
    return red, green, blue
