"""Photograph-like JPEGs of three sizes, and as many different ones of each as are wanted."""

from __future__ import annotations

import functools
import io
import random

from PIL import Image, ImageChops

LARGE = "60 MiB"
BYTES = {"6 KB": 6_000, "80 KB": 80_000, "500 KB": 500_000, LARGE: 60 * 1024**2}
PIXELS = {"6 KB": (200, 150), "80 KB": (800, 600), "500 KB": (2000, 1500)}


@functools.cache
def photo(size: str) -> bytes:
    """The JPEG of a size, by its name in BYTES; the largest is one of 80 KB with zeros after its end."""
    if size == LARGE:
        return photo("80 KB").ljust(BYTES[LARGE], b"\x00")
    picture = _picture(PIXELS[size])
    # As good a quality as the size allows; it grows with the quality.
    fitting = [jpeg for quality in range(5, 96, 5) if len(jpeg := _jpeg(picture, quality)) <= BYTES[size] - len(_comment(0))]
    return fitting[-1].ljust(BYTES[size] - len(_comment(0)), b"\x00")


def numbered(size: str, number: int) -> bytes:
    """The JPEG of a size with a comment of its own: the same bytes would be stored once, and so unfairly fast."""
    plain = photo(size)
    return plain[:2] + _comment(number) + plain[2:]


def _comment(number: int) -> bytes:
    return b"\xff\xfe\x00\x12%016d" % number  # the segment COM: its length counts itself and 16 digits


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _picture(size: tuple[int, int]) -> Image.Image:
    """Noise of several scales, the coarser the stronger, as light and texture are in photographs."""
    chance = random.Random(6)
    layers = []
    for divisor in (200, 50, 12, 3):
        small = (max(2, size[0] // divisor), max(2, size[1] // divisor))
        layers.append(Image.frombytes("RGB", small, chance.randbytes(3 * small[0] * small[1])).resize(size, Image.Resampling.BICUBIC))
    picture = layers[0]
    for layer in layers[1:]:
        picture = ImageChops.blend(picture, layer, 0.25)
    return picture
