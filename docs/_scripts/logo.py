"""Draw the logo, the favicon and the banner: `python docs/_scripts/logo.py`.

All show one idea: spikes, and the decaying trace that remembers them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

STATIC = Path(__file__).parents[1] / "_static"
BLUE, ORANGE = "#0072B2", "#D55E00"
LIGHT_BLUE, LIGHT_ORANGE = "#7CC4F0", "#F0A35C"
NAVY, WHITE = "#0B1D2E", "#F4F7FA"


def trace_at(time: float, spikes: Sequence[float], tau: float) -> float:
    """Return the sum of what is left of each earlier spike."""
    return sum(math.exp(-(time - s) / tau) for s in spikes if s <= time)


def curve(spikes: Sequence[float], tau: float, start: float, end: float, step: float) -> list[tuple[float, float]]:
    """Return points (time, trace), with both sides of each jump."""
    times = [start + i * step for i in range(int((end - start) / step) + 1)]
    points = [(t, trace_at(t, spikes, tau)) for t in times]
    for s in spikes:
        after = trace_at(s, spikes, tau)
        points += [(s - 1e-6, after - 1.0), (s, after)]
    return sorted(points)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return points as the data of an SVG path."""
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points)


def logo(spike: str, trace: str, *, background: str | None = None) -> str:
    """Return the logo: three spikes below, their trace above."""
    spikes = [9.0, 23.0, 42.0]
    points = [(x, 41.0 - 25.0 * y) for x, y in curve(spikes, 9.0, 4.0, 61.0, 0.5)]
    bars = "".join(f'<path d="M{s} 57V47"/>' for s in spikes)
    plate = "" if background is None else f'<rect width="64" height="64" rx="14" fill="{background}"/>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" role="img" aria-label="traceTorch">'
        f'{plate}<g fill="none" stroke-linecap="round" stroke-linejoin="round" stroke-width="5">'
        f'<g stroke="{spike}">{bars}</g><path d="{path(points)}" stroke="{trace}"/></g></svg>\n'
    )


def words(text: str, x: float, y: float, size: float, *, bold: bool, fill: str) -> str:
    """Return a text as outlines, so that it looks the same whatever fonts a reader has."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    outline = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans", weight=700 if bold else 400))
    parts = []
    for values, code in outline.iter_segments(curves=True):
        pairs = [f"{x + a:.1f} {y - b:.1f}" for a, b in zip(values[::2], values[1::2], strict=True)]
        parts.append({1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}[int(code)] + ("" if code == 79 else " ".join(pairs)))
    return f'<path d="{"".join(parts)}" fill="{fill}"/>'


def banner() -> str:
    """Return the banner: the name at the left, a stream of spikes and its traces at the right."""
    width, height, left, right = 1200, 300, 590.0, 1160.0
    draw = random.Random(7)
    rows = []
    for row, (tau, rate) in enumerate(((16.0, 0.022), (48.0, 0.022), (120.0, 0.022))):
        base = 96.0 + 84.0 * row
        spikes, now = [], left
        while (now := now + draw.expovariate(rate)) < right:
            if not spikes or now - spikes[-1] > 7:
                spikes.append(now)
        points = curve(spikes, tau, left, right, 2.0)
        top = max(y for _, y in points)
        line = [(x, base - 46.0 * y / top) for x, y in points]
        area = path([(left, base), *line, (right, base)]) + "Z"
        bars = "".join(f"M{s:.1f} {base + 16:.0f}v-10" for s in spikes)
        rows.append(
            f'<path d="{area}" fill="{LIGHT_ORANGE}" opacity=".14"/>'
            f'<path d="{path(line)}" fill="none" stroke="{LIGHT_ORANGE}" stroke-width="2.5" stroke-linejoin="round"/>'
            f'<path d="{bars}" stroke="{LIGHT_BLUE}" stroke-width="3" stroke-linecap="round"/>'
        )
    text = words("trace", 48, 152, 76, bold=False, fill=WHITE) + words("Torch", 257, 152, 76, bold=True, fill=WHITE)
    line_1 = words("Learning through time without going back:", 50, 202, 20.5, bold=False, fill="#B9CBDC")
    line_2 = words("constant memory, a gradient at every step.", 50, 231, 20.5, bold=False, fill="#B9CBDC")
    label = "traceTorch. Learning through time without going back: constant memory, a gradient at every step."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f'<rect width="{width}" height="{height}" rx="18" fill="{NAVY}"/>{"".join(rows)}{text}{line_1}{line_2}</svg>\n'
    )


if __name__ == "__main__":
    STATIC.mkdir(exist_ok=True)
    (STATIC / "logo.svg").write_text(logo(BLUE, ORANGE), encoding="utf-8")
    (STATIC / "logo-dark.svg").write_text(logo(LIGHT_BLUE, LIGHT_ORANGE), encoding="utf-8")
    (STATIC / "favicon.svg").write_text(logo(LIGHT_BLUE, LIGHT_ORANGE, background=NAVY), encoding="utf-8")
    (STATIC / "banner.svg").write_text(banner(), encoding="utf-8")
