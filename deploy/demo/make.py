"""Makes a small site to try Bowerbird on: a page with every kind of image reference, a gallery of fifty, and their images.

    .venv/bin/python deploy/demo/make.py site
    python3 -m http.server --directory site --bind 127.0.0.1 8080

The same files each time, all drawn here: landscapes of gradients and waves. It needs Pillow and nothing else.
"""

from __future__ import annotations

import colorsys
import math
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
GALLERY = 50
ON_INDEX = {
    "bower.jpg": (1280, 853), "leaving.png": (480, 320), "share.jpg": (600, 400), "dawn-320.jpg": (320, 213), "dawn-640.jpg": (640, 427),
    "og.jpg": (1200, 630), "twitter.webp": (600, 314), "item.jpg": (400, 400), "dunes-320.jpg": (320, 213), "dunes-640.jpg": (640, 427),
    "dunes-960.jpg": (960, 640), "coast-320.avif": (320, 213), "coast-640.avif": (640, 427), "coast-320.webp": (320, 213), "coast.jpg": (480, 320),
    "lazy.jpg": (480, 320), "lazy-320.png": (320, 213), "lazy-640.png": (640, 427), "noscript.jpg": (320, 213), "inline.webp": (320, 213),
    "retina-1.png": (160, 107), "retina-2.png": (320, 213), "lazy-background.jpg": (320, 213), "table.gif": (120, 80), "button.png": (64, 64),
    "poster.jpg": (640, 427), "svg.png": (160, 107), "object.png": (160, 107), "embed.webp": (320, 213), "shadow.tiff": (160, 107),
    "old.bmp": (120, 80), "favicon.ico": (32, 32), "touch.png": (180, 180), "tile.png": (144, 144), "blank.gif": (1, 1),
}  # fmt: skip
"""The images of index.html, but for the background, a copy, and gone.jpg, which isn't there. Sizes of one image have its name before the hyphen."""

FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP", "ico": "ICO"}
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 82}, "WEBP": {"quality": 80}, "AVIF": {"quality": 65, "speed": 8, "max_threads": 1}, "PNG": {"optimize": True},
    "TIFF": {"compression": "tiff_adobe_deflate"}, "GIF": {}, "BMP": {}, "ICO": {},
}  # fmt: skip
GALLERY_SIZES = ((480, 320), (320, 480), (400, 400), (540, 304), (300, 400))
GALLERY_FORMATS = ("jpg", "webp", "jpg", "png", "jpg", "avif", "jpg", "gif", "jpg", "webp")

Colour = tuple[int, int, int]


def make(folder: Path) -> int:
    """Writes the site into a folder, which is made if need be; its size in bytes."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "gallery").mkdir(exist_ok=True)
    for name, size in ON_INDEX.items():
        stem = name.partition(".")[0]
        save(landscape(stem.rstrip("0123456789").rstrip("-"), size), folder / "images" / name)
    save(paper(), folder / "images" / "paper.png")
    shutil.copyfile(folder / "images" / "bower.jpg", folder / "images" / "copy.jpg")
    names = [f"{number:02}.{GALLERY_FORMATS[number % len(GALLERY_FORMATS)]}" for number in range(1, GALLERY + 1)]
    for number, name in enumerate(names):
        save(landscape(name, GALLERY_SIZES[number % len(GALLERY_SIZES)]), folder / "gallery" / name)
    shutil.copyfile(HERE / "index.html", folder / "index.html")
    (folder / "gallery.html").write_text(gallery(names), "utf-8")
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def landscape(seed: str, size: tuple[int, int]) -> Image.Image:
    """A sky with a sun, and waves of hills before it; another seed gives other colours and other hills."""
    dice = random.Random(seed)  # noqa: S311  (for looks)
    hue = dice.random()
    # Drawn twice as large, which makes the edges smooth.
    width, height = 2 * size[0], 2 * size[1]
    picture = _sky(width, height, hue)
    draw = ImageDraw.Draw(picture)
    radius = dice.uniform(0.08, 0.14) * height
    x, y = dice.uniform(0.2, 0.8) * width, dice.uniform(0.2, 0.4) * height
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(hue + 0.45, 0.25, 1.0))
    hills = 5
    for hill in range(hills):
        share = (hill + 1) / hills
        draw.polygon(_hill(width, height, share, dice), fill=_colour(hue + 0.08 * share, 0.35 + 0.3 * share, 0.8 - 0.6 * share))
    return picture.resize(size, Image.Resampling.LANCZOS)


def paper() -> Image.Image:
    """A background to be repeated: pale, with a dot."""
    picture = Image.new("RGB", (24, 24), (247, 244, 237))
    ImageDraw.Draw(picture).ellipse((10, 10, 12, 12), fill=(226, 219, 203))
    return picture


def save(picture: Image.Image, path: Path) -> None:
    """In the format that its name says."""
    kind = FORMATS[path.suffix[1:]]
    if kind == "GIF":
        picture = picture.quantize(64, dither=Image.Dither.NONE)
    picture.save(path, kind, **(OPTIONS[kind] | ({"sizes": [picture.size]} if kind == "ICO" else {})))


def gallery(names: list[str]) -> str:
    """A page as galleries are: some images at once, the others when they come near, with a copy for those without scripts."""
    figures = "\n".join(_figure(number, name) for number, name in enumerate(names, 1))
    style = "body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem } figure { display: inline-block; margin: .5rem } img { height: 12rem }"
    head = f'<head><meta charset="utf-8"><title>A gallery of {len(names)}</title><style>{style}</style></head>'
    return f'<!DOCTYPE html>\n<html lang="en">{head}<body>\n<h1>A gallery of {len(names)}</h1>\n{figures}\n</body></html>\n'


def _figure(number: int, name: str) -> str:
    shown = f'<img src="gallery/{name}" alt="Landscape {number}">'
    if number <= 2 * len(GALLERY_FORMATS):
        return f"<figure>{shown}</figure>"
    return f'<figure><img src="images/blank.gif" data-src="gallery/{name}" alt="Landscape {number}"><noscript>{shown}</noscript></figure>'


def _sky(width: int, height: int, hue: float) -> Image.Image:
    mask = Image.linear_gradient("L").resize((width, height))
    return Image.composite(
        Image.new("RGB", (width, height), _colour(hue + 0.5, 0.18, 1.0)), Image.new("RGB", (width, height), _colour(hue, 0.5, 0.85)), mask
    )


def _hill(width: int, height: int, share: float, dice: random.Random) -> list[tuple[float, float]]:
    waves = [(dice.uniform(0.5, 3.0), dice.uniform(0, math.tau), dice.uniform(0.01, 0.05)) for _ in range(3)]
    base = 0.4 + 0.5 * share
    step = max(1, width // 200)
    line = [
        (float(x), height * (base + sum(size * math.sin(math.tau * often * x / width + shift) for often, shift, size in waves)))
        for x in range(0, width + step, step)
    ]
    return [(0.0, float(height)), *line, (float(width), float(height))]


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004
        sys.exit("Usage: make.py FOLDER")
    print(f"{sys.argv[1]}: {make(Path(sys.argv[1])) / 1e6:.1f} MB")
