"""A few shapes for explanatory drawings: boxes, arrows and texts with indices, written as SVG by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

INK, GREY, PALE = "#222222", "#767676", "#F2F4F6"
FORWARD, TRACE, CREDIT = "#0072B2", "#00735A", "#B84A00"
"""Blue goes forward, green is carried, vermillion is credit: told apart by any colour vision, and by line and label."""
TINTS = {FORWARD: "#E6F1F8", TRACE: "#E3F3EE", CREDIT: "#FBEBDD", GREY: PALE, INK: "#FFFFFF"}
FONT = "'DejaVu Sans','Segoe UI','Helvetica Neue',Arial,sans-serif"

Point = tuple[float, float]


def indexed(text: str) -> str:
    """Return a text with each `_{...}` set as an index."""
    parts, low = [], False
    for i, piece in enumerate(re.split(r"_\{([^}]*)\}", text)):
        if piece:
            down = i % 2 == 1
            shift = ' dy="4" font-size="75%"' if down else ' dy="-4"' if low else ""
            parts.append(f"<tspan{shift}>{escape(piece)}</tspan>")
            low = down
    return "".join(parts)


class Drawing:
    """Gather shapes and write them as one SVG.

    Args:
        width: width in pixels.
        height: height in pixels.
        label: what a reader who cannot see it is told.
    """

    def __init__(self, width: int, height: int, label: str) -> None:
        self.width, self.height, self.label = width, height, label
        self.shapes: list[str] = []

    def text(
        self, at: Point, text: str, *, size: float = 14, colour: str = INK, anchor: str = "middle", bold: bool = False
    ) -> None:
        """Write a text around a point, on its middle line."""
        weight = ' font-weight="600"' if bold else ""
        self.shapes.append(
            f'<text x="{at[0]:g}" y="{at[1] + size * 0.35:g}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight} xml:space="preserve">{indexed(text)}</text>'
        )

    def box(
        self, corner: Point, size: Point, lines: str | Sequence[str], *, colour: str = INK, font: float = 14
    ) -> None:
        """Draw a box with lines of text in its middle."""
        (x, y), (w, h) = corner, size
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="7" fill="{TINTS[colour]}" '
            f'stroke="{colour}" stroke-width="1.6"/>'
        )
        told = [lines] if isinstance(lines, str) else list(lines)
        step = font * 1.5
        for i, line in enumerate(told):
            self.text((x + w / 2, y + h / 2 + (i - (len(told) - 1) / 2) * step), line, size=font)

    def arrow(
        self, points: Sequence[Point], *, colour: str = INK, dashed: bool = False, width: float = 2, head: bool = True
    ) -> None:
        """Draw a line through points, with a head at its end."""
        data = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        self.shapes.append(
            f'<path d="{data}" fill="none" stroke="{colour}" stroke-width="{width:g}" stroke-linejoin="round"{dash}/>'
        )
        if head:
            (x0, y0), (x1, y1) = points[-2], points[-1]
            length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
            ux, uy = (x1 - x0) / length, (y1 - y0) / length
            left, right = (x1 - 9 * ux - 5 * uy, y1 - 9 * uy + 5 * ux), (x1 - 9 * ux + 5 * uy, y1 - 9 * uy - 5 * ux)
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in (left, (x1 + ux, y1 + uy), right))
            self.shapes.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def cross(self, at: Point, *, colour: str = GREY, size: float = 7) -> None:
        """Draw a cross: what is dropped."""
        x, y = at
        self.shapes.append(
            f'<path d="M{x - size:g} {y - size:g}L{x + size:g} {y + size:g}M{x - size:g} {y + size:g}'
            f'L{x + size:g} {y - size:g}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>'
        )

    def save(self, path: Path) -> None:
        """Write the drawing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(self.label)}" '
            f'font-family="{FONT}"><rect width="{self.width}" height="{self.height}" fill="#FFFFFF"/>'
            + "".join(self.shapes)
            + "</svg>\n",
            encoding="utf-8",
        )
