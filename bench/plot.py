"""Bars, drawn by hand as SVG: few enough lines not to need a library."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 230, 140, 22, 10, 44
WHOLE = 100  # from here on digits behind the point mean nothing
OURS, OTHERS, MARK = "#2166ac", "#b0b7bf", "#b2182b"


class Bar(NamedTuple):
    """A length with its least and greatest run; `ours` are drawn in another colour."""

    label: str
    value: float
    low: float
    high: float
    ours: bool
    unit: str


def bars(title: str, data: list[Bar]) -> str:
    """A chart of bars from zero; the thin line is the spread of the runs."""
    most = max((bar.high for bar in data), default=0.0) or 1.0
    height = TOP + len(data) * (BAR + GAP) + GAP
    scale = (WIDTH - LEFT - RIGHT) / most
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="15" font-weight="bold" fill="#222222">{escape(title)}</text>',
    ]
    for number, bar in enumerate(data):
        y = TOP + number * (BAR + GAP)
        middle = y + BAR / 2
        lines += [
            f'<text x="{LEFT - 8}" y="{middle + 4.5:g}" text-anchor="end" fill="#222222">{escape(bar.label)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" fill="{OURS if bar.ours else OTHERS}"/>',
            f'<line x1="{LEFT + bar.low * scale:.1f}" y1="{middle:g}" x2="{LEFT + bar.high * scale:.1f}" y2="{middle:g}" stroke="{MARK}"/>',
            f'<text x="{LEFT + bar.high * scale + 8:.1f}" y="{middle + 4.5:g}" fill="#222222">{bar.value:,.{0 if bar.value >= WHOLE else 1}f} {escape(bar.unit)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
