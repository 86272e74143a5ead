"""What the elements of a page refer to as images: one list of candidates, which are sizes of one image, after the other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from services.fetcher.formats import CONTENT_TYPES
from services.fetcher.html import css, srcset
from services.fetcher.html.markup import BLANK, attributes, tags
from services.fetcher.html.srcset import Candidate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.fetcher.html.markup import Tag

MAX_CANDIDATES = 100_000
"""Candidates of one page that are read: ten sizes each of ten thousand images."""

_SCREENS = 20  # sets of one background that are read

Image = list[Candidate]
Attributes = dict[str, str]

# Where loaders that wait for the reader to come near keep an image, while `src` has a placeholder or a tiny copy:
# lazysizes, vanilla-lazyload, lozad, jQuery.lazyload, jQuery.Lazy, unveil, Lazy Load XT, bLazy, echo.js, Slick, Swiper, Owl, Flickity,
# UIkit, WP Rocket, a3, Jetpack, LiteSpeed, NitroPack, Cloudflare Mirage, PageSpeed, Slider Revolution.
_LAZY_SETS = (
    "data-srcset", "data-lazy-srcset", "data-original-set", "data-lazyload-srcset", "data-flickity-lazyload-srcset",
    "data-nitro-lazy-srcset", "data-pagespeed-lazy-srcset", "data-cfsrcset", "data-ll-srcset",
)  # fmt: skip
_LAZY = (
    "data-src", "data-lazy-src", "data-original", "data-lazy", "data-lazyload", "data-lazy-original", "data-lazyload-src", "data-ll-src", "data-echo",
    "data-flickity-lazyload", "data-flickity-lazyload-src", "data-nitro-lazy-src", "data-pagespeed-lazy-src", "data-cfsrc", "data-defer-src",
    "data-delayed-url", "data-img-src", "data-image-src",
)  # fmt: skip
_LAZY_2X = ("data-src-retina", "data-retina", "data-src-2x")
_LAZY_LARGE = ("data-orig-file", "data-large-file", "data-full-src", "data-hi-res-src", "data-src-large", "data-zoom-image")
_WAITING = frozenset(_LAZY_SETS + _LAZY + _LAZY_2X + _LAZY_LARGE)
_LAZY_BACKGROUNDS = (
    "data-bg", "data-background", "data-background-image", "data-bg-image", "data-bg-multi", "data-bg-src", "data-lazy-background",
    "data-lazy-bg", "data-bg-url", "data-background-src", "data-nitro-bg",
)  # fmt: skip
_LAZY_BACKGROUND_SETS = ("data-bgset", "data-background-image-set", "data-bg-set")
_UNUSUAL = frozenset((*_LAZY_BACKGROUNDS, *_LAZY_BACKGROUND_SETS, "uk-img", "data-uk-img", "background", "itemprop"))
_OF_ANY_ELEMENT = re.compile(r"style|background|bg|itemprop|uk-img", re.IGNORECASE)

_PLACEHOLDER = re.compile(
    r"(?:^|[/_.-])(?:blank|placeholder|spacer|pixel|transparent|clear|empty|loading|loader|lazy|lazyload|grey|gray|white|1x1|dot)(?:[_.-]|$)",
    re.IGNORECASE,
)

_NAME_LENGTH = 100

_ICONS = frozenset({
    "icon", "apple-touch-icon", "apple-touch-icon-precomposed", "apple-touch-startup-image", "mask-icon", "fluid-icon", "image_src",
})  # fmt: skip
_META = re.compile(
    r"(?:og:image(?::url|:secure_url)?|twitter:image(?::src)?|image|thumbnail|thumbnailurl|msapplication-(?:tileimage|(?:square|wide)\d+x\d+logo))"
)
_ITEMS = frozenset({"image", "thumbnailurl", "logo"})
_TYPES = frozenset(CONTENT_TYPES.values()) | {"image/jpg", "image/x-icon", "image/vnd.microsoft.icon", "image/x-ms-bmp", ""}


class References(msgspec.Struct):
    """What a page refers to, as written. `unread` counts images beyond MAX_CANDIDATES, `base` is the first `base` that has a href."""

    images: list[Image] = []
    base: str | None = None
    unread: int = 0


def read(text: str, *, xhtml: bool = False) -> References:
    """The images of a page in their order.

    What is in `noscript` counts: it is what lazy loaders leave for others. What is in `template` doesn't, unless it is a shadow root:
    nothing of it is shown before a script makes copies, and its URLs are most often patterns to be filled in.
    """
    reader = _Reader()
    for tag in tags(text, xhtml=xhtml):
        reader.take(tag)
    reader.end_picture()
    return reader.found


class _Reader:
    """The little that one tag changes for those after it."""

    def __init__(self) -> None:
        self.found = References()
        self._picture: Image | None = None
        self._templates = 0
        self._in_noscript = False
        self._candidates = 0
        self._tokens = css.budget()
        self._seen: set[tuple[str, ...]] = set()
        self._known: set[str] = set()

    def take(self, tag: Tag) -> None:
        if tag.name == "template":
            self._templates = _depth(tag, self._templates)
        if self._templates:
            return
        if tag.name == "noscript":
            self._in_noscript = not tag.closing
        elif tag.name == "picture":
            self.end_picture()
            self._picture = None if tag.closing else []
        elif tag.closing or (tag.name not in _ELEMENTS and not _OF_ANY_ELEMENT.search(tag.rest)):
            return
        elif self._candidates >= MAX_CANDIDATES:
            self.found.unread += tag.name in {"img", "amp-img"}
        else:
            self._read(tag, attributes(tag.rest))

    def _read(self, tag: Tag, having: Attributes) -> None:
        if tag.name == "base" and self.found.base is None:
            self.found.base = having.get("href")
        for image in filter(None, _images(tag, having, self._tokens)):
            self._candidates += len(image)
            if tag.name == "source":
                if self._picture is not None:
                    self._picture += image
            elif tag.name == "img" and self._picture:  # the sources' sizes are sizes of the img
                sizes, self._picture = self._picture + image, []
                self._add(sizes)
            else:
                self._add(image)

    def _add(self, image: Image) -> None:
        key = tuple(candidate.url for candidate in image)
        # A plain copy for those without scripts of what was there already, though maybe in fewer sizes.
        if key not in self._seen and not (self._in_noscript and self._known.issuperset(key)):
            self._seen.add(key)
            self._known.update(key)
            self.found.images.append(image)

    def end_picture(self) -> None:
        if self._picture:  # one without an img
            self._add(self._picture)
        self._picture = None


def _depth(tag: Tag, depth: int) -> int:
    if tag.closing:
        return max(0, depth - 1)
    shown = not depth and "shadowrootmode" in attributes(tag.rest)
    return depth + (not shown)


def _images(tag: Tag, having: Attributes, tokens: Iterator[int]) -> Iterator[Image]:
    if tag.name in _ELEMENTS:
        yield from _ELEMENTS[tag.name](having)
    if tag.name == "style":
        yield from css.images(tag.text, tokens)
    if style := having.get("style"):
        yield from css.images(style, tokens)
    if not _UNUSUAL.isdisjoint(having):
        yield from _unusual(tag, having, tokens)


def _unusual(tag: Tag, having: Attributes, tokens: Iterator[int]) -> Iterator[Image]:
    """What any element may have."""
    if "uk-img" in having or "data-uk-img" in having:
        yield _sizes(having)
    yield _given(having.get("background"))
    for value in filter(None, map(having.get, _LAZY_BACKGROUNDS)):
        yield from css.images(value, tokens, property_name="background") or [[Candidate(value)]]
    for value in filter(None, map(having.get, _LAZY_BACKGROUND_SETS)):
        # lazysizes puts sets for different screens side by side, each followed by [which].
        yield [candidate for part in value.split("|", _SCREENS) for candidate in srcset.parse(part.partition("[")[0])]
    if not _ITEMS.isdisjoint(_words(having.get("itemprop", ""))):
        yield _given(having.get("content") if tag.name == "meta" else having.get("href"))


def _sizes(having: Attributes) -> Image:
    """What img and those like it have: the first of two that are equally large goes before, so that a placeholder comes last."""
    plain = srcset.parse(having.get("srcset", "")) + _given(having.get("src"))
    if _WAITING.isdisjoint(having):
        return plain
    lazy = [candidate for name in _LAZY_SETS for candidate in srcset.parse(having.get(name, ""))]
    lazy += [Candidate(having[name], density=3.0) for name in _LAZY_LARGE if having.get(name)]
    lazy += [Candidate(having[name], density=2.0) for name in _LAZY_2X if having.get(name)]
    lazy += [Candidate(having[name]) for name in _LAZY if having.get(name)]
    return lazy + [candidate for candidate in plain if not (lazy and _PLACEHOLDER.search(candidate.url[-_NAME_LENGTH:]))]


def _given(url: str | None) -> Image:
    return [Candidate(url)] if url else []


def _img(having: Attributes) -> list[Image]:
    return [_sizes(having)]


def _svg_image(having: Attributes) -> list[Image]:
    # Outside of SVG, `image` is another name for img (section 13.2.6.4.7).
    return [_given(having.get("href") or having.get("xlink:href")) or _sizes(having)]


def _source(having: Attributes) -> list[Image]:
    sizes = _sizes({name: value for name, value in having.items() if name != "src"})
    if having.get("type", "").partition(";")[0].strip(BLANK).lower() in _TYPES:
        return [sizes]
    return [[candidate._replace(width=0.0, density=0.0) for candidate in sizes]]  # of a format that isn't kept: rather any other


def _input(having: Attributes) -> list[Image]:
    return _img(having) if having.get("type", "").lower() == "image" else []


def _poster(having: Attributes) -> list[Image]:
    return [_given(having.get("data-poster") or having.get("poster"))]


def _embedded(having: Attributes) -> list[Image]:
    is_image = having.get("type", "").strip(BLANK).lower().startswith("image/")
    return [_given(having.get("data") or having.get("src"))] if is_image else []


def _link(having: Attributes) -> list[Image]:
    relations = _words(having.get("rel", ""))
    if "preload" in relations and having.get("as", "").lower() == "image":
        return [srcset.parse(having.get("imagesrcset", "")) + _given(having.get("href"))]
    return [_given(having.get("href"))] if relations & _ICONS else []


def _meta(having: Attributes) -> list[Image]:
    names = _words(f"{having.get('property', '')} {having.get('name', '')}")
    return [_given(having.get("content"))] if any(_META.fullmatch(name) for name in names) else []


def _none(_: Attributes) -> list[Image]:
    return []


def _words(value: str) -> set[str]:
    return set(value.lower().split())


_ELEMENTS = {
    "img": _img, "amp-img": _img, "amp-anim": _img, "image": _svg_image, "feimage": _svg_image, "source": _source, "input": _input,
    "video": _poster, "amp-video": _poster, "object": _embedded, "embed": _embedded, "link": _link, "meta": _meta, "style": _none, "base": _none,
}  # fmt: skip
