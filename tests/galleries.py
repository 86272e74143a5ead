"""Pages of our own making: one with every kind of reference, and a gallery of as many images as asked for."""

from __future__ import annotations

from pathlib import Path

EVERY_KIND = Path(__file__).parent / "pages" / "every-kind.html"
EVERY_KIND_URL = "https://example.com/a/page.html"

C = "https://cdn.example.com/"
S = "https://cdn.example.com/site/"
EVERY_KIND_IMAGES = [
    f"{C}favicon.ico", f"{C}touch.png", f"{C}touch-precomposed.png", f"{C}mask.svg", f"{C}image-src.jpg", f"{S}hero-1600.jpg",
    "https://example.com/og.jpg", "https://example.com/og-url.jpg", f"{C}twitter.jpg", f"{C}twitter-src.jpg", f"{C}itemprop.jpg", f"{C}tile.png",
    f"{C}css-background.png", f"{C}css-list.png", f"{C}css-border.png", f"{C}css-content.png", f"{C}set-2.png", f"{C}body.gif",
    f"{S}plain.jpg", f"{S}UPPER.JPG", f"{S}entity.jpg?a=1&b=2&copy=3", f"{S}spaces.jpg", f"{S}srcset-3x.jpg", f"{S}w_400,h_400/wide.jpg",
    f"{S}art-1200.avif", f"{S}lazy.jpg", f"{S}original.jpg", f"{S}lazy-900.jpg", f"{S}rocket-2x.jpg", f"{S}only-without-scripts.jpg",
    f"{S}lazy-background.jpg", f"{S}lazy-background-image.jpg", f"{S}bgset.jpg", f"{S}inline%20style.jpg", f"{C}table.gif", f"{C}td.gif",
    f"{C}submit.png", f"{C}poster.jpg", f"{C}svg.png", f"{C}svg-old.png", f"{C}object.png", f"{C}embed.webp", f"{C}amp-2x.jpg", f"{C}shadow.jpg",
    "http://xn--bcher-kva.example/%C3%A4.png?%C3%B6=%C3%BC", f"{C}back/slash.png",
]  # fmt: skip
EVERY_KIND_ALTERNATIVES = {
    f"{S}hero-1600.jpg": [f"{S}hero-800.jpg", f"{S}hero.jpg"],
    f"{C}set-2.png": [f"{C}set-1.png"],
    f"{S}srcset-3x.jpg": [f"{S}srcset-2x.jpg", f"{S}srcset.jpg"],
    f"{S}w_400,h_400/wide.jpg": [f"{S}w_100,h_100/wide.jpg"],
    f"{S}art-1200.avif": [f"{S}art-600.avif", f"{S}art-600.webp", f"{S}art.jpg", f"{S}art.jxl"],
    f"{S}lazy-900.jpg": [f"{S}lazy-300.jpg"],
    f"{S}rocket-2x.jpg": [f"{S}rocket.jpg", f"{C}tiny.jpg"],
    f"{S}bgset.jpg": [f"{S}bgset-small.jpg"],
    f"{C}amp-2x.jpg": [f"{C}amp.jpg"],
}
EVERY_KIND_SKIPPED = 1
EVERY_KIND_REFUSED = 5


def gallery(images: int = 50, *, path: str = "/images/{number}.png") -> str:
    """A page as galleries are: some images at once, some when they come near, each with a copy for those without scripts."""
    figures = "\n".join(_figure(number, path.format(number=number)) for number in range(1, images + 1))
    return f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{images} images</title></head><body>\n{figures}\n</body></html>\n'


def _figure(number: int, src: str) -> str:
    if number % 2:
        return f'<figure><img src="{src}" alt="Image {number}"><figcaption>Image {number}</figcaption></figure>'
    lazy = f'<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" data-src="{src}" alt="Image {number}">'
    return f'<figure>{lazy}<noscript><img src="{src}" alt="Image {number}"></noscript><figcaption>Image {number}</figcaption></figure>'
