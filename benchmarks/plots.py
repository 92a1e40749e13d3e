"""Bar charts as SVG, drawn by hand: for a light page, and for a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

#: End of the file's name -> ground, text, bars of Flask-Rooms, bars of the others.
_COLORS = {
    "light": ("#ffffff", "#1f2328", "#0969da", "#9aa4af"),
    "dark": ("#0d1117", "#e6edf3", "#58a6ff", "#6e7681"),
}
_LABELS, _BARS, _VALUES, _ROW, _HEAD = 330, 330, 140, 26, 44


@dataclass(frozen=True)
class Bar:
    """
    One figure.

    Args:
        label: What it is of.
        value: How long the bar is.
        shown: The figure with its unit.
        ours: Whether it is that of Flask-Rooms.
    """

    label: str
    value: float
    shown: str
    ours: bool


def save(directory: Path, name: str, title: str, bars: Sequence[Bar]) -> None:
    """Write `name-light.svg` and `name-dark.svg`."""
    for scheme, colors in _COLORS.items():
        path = directory / f"{name}-{scheme}.svg"
        path.write_text(_svg(title, bars, *colors), encoding="utf-8")


def _svg(title: str, bars: Sequence[Bar], ground: str, text: str, own: str, others: str) -> str:
    width, height = _LABELS + _BARS + _VALUES, _HEAD + _ROW * len(bars) + 8
    longest = max(bar.value for bar in bars)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="14" fill="{text}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="{ground}"/>',
        f'<text x="8" y="24" font-weight="bold">{escape(title)}</text>',
    ]
    for row, bar in enumerate(bars):
        top = _HEAD + _ROW * row
        size = max(1, round(_BARS * bar.value / longest))
        color = own if bar.ours else others
        lines += [
            f'<text x="{_LABELS - 8}" y="{top + 15}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LABELS}" y="{top}" width="{size}" height="20" rx="2" fill="{color}"/>',
            f'<text x="{_LABELS + size + 6}" y="{top + 15}">{escape(bar.shown)}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])
