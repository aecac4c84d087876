"""The documentation's pictures: bodies of SVGs, on light and dark pages alike. `figures` says what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Any


def points(found: Sequence[Mapping[str, Any]], title: str, left: int) -> None:
    """Prints a part of an SVG: a point for each file, its size to the right and its loss upwards, both by powers."""
    sizes, powers = ([log10(row[name]) for row in found] for name in ("nbytes", "loss"))

    def share(value: float, values: Sequence[float]) -> float:
        return (value - min(values)) / (max(values) - min(values))

    print(f'<text x="{left}" y="18" font-size="15" font-weight="600" fill="#6b7280">{escape(title)}</text>')
    lowest = 24.0
    for row in sorted(found, key=lambda row: -row["loss"]):
        x, y = left + 8 + 150 * share(log10(row["nbytes"]), sizes), 316 - 276 * share(log10(row["loss"]), powers)
        # The names stand in a column, none upon another.
        lowest = max(y, lowest + 15)
        colour = "#0b8f68" if row["imatrix"] else "#9ca3af"
        told = f"{row['quant']}, {row['nbytes'] / 1e6:.1f} MB: {row['loss']:.2g}"
        print(f'<path d="M{x:.1f} {y:.1f} L{left + 190} {lowest:.1f}" stroke="{colour}" stroke-opacity="0.4"/>')
        print(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        print(f'<text x="{left + 195}" y="{lowest + 4:.1f}" font-size="11" fill="#6b7280">{escape(told)}</text>')


def bars(values: Sequence[tuple[str, float]], title: str) -> None:
    """Prints the body of an SVG with a bar for each value; light and dark pages alike."""
    most = max(amount for _, amount in values)
    print(f'<text x="0" y="18" font-size="15" font-weight="600" fill="#6b7280">{escape(title)}</text>')
    for place, (name, amount) in enumerate(values):
        y, width = 36 + 30 * place, 400 * amount / most
        colour = "#0b8f68" if name == "qsift" else "#9ca3af"
        print(f'<text x="290" y="{y + 15}" text-anchor="end" fill="#6b7280">{escape(name)}</text>')
        print(f'<rect x="300" y="{y}" width="{width:.1f}" height="20" rx="3" fill="{colour}"/>')
        print(f'<text x="{308 + width:.1f}" y="{y + 15}" fill="#6b7280">{amount:.0f}</text>')
