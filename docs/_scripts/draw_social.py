"""Draw the picture that a link to the site shows elsewhere, 1200 × 630: `python docs/_scripts/draw_social.py`."""

from __future__ import annotations

import random

from logo import LIGHT_BLUE, LIGHT_ORANGE, NAVY, STATIC, WHITE, curve


def main() -> None:
    """Draw the name, what it is for, and three streams of spikes with their traces."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = 1200, 630
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=NAVY)
    ax = figure.add_axes((0, 0, 1, 1), facecolor=NAVY)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis("off")
    draw = random.Random(7)
    for row, tau in enumerate((30.0, 90.0, 220.0)):
        base, spikes, now = 340.0 + 95.0 * row, [], 80.0
        while (now := now + draw.expovariate(0.018)) < 1110.0:
            if not spikes or now - spikes[-1] > 10:
                spikes.append(now)
        points = curve(spikes, tau, 80.0, 1120.0, 2.0)
        top = max(y for _, y in points)
        xs, ys = [x for x, _ in points], [base - 58.0 * y / top for _, y in points]
        ax.fill_between(xs, ys, base, color=LIGHT_ORANGE, alpha=0.14, linewidth=0)
        ax.plot(xs, ys, color=LIGHT_ORANGE, linewidth=2.6)
        ax.vlines(spikes, base + 7, base + 19, color=LIGHT_BLUE, linewidth=3)
    name = ax.text(78, 140, "trace", color=WHITE, fontsize=64, va="baseline")
    right = name.get_window_extent(FigureCanvasAgg(figure).get_renderer()).x1
    ax.text(right + 2, 140, "Torch", color=WHITE, fontsize=64, fontweight="bold", va="baseline")
    ax.text(82, 195, "Spiking networks that learn online, in PyTorch:", color="#B9CBDC", fontsize=24)
    ax.text(82, 237, "constant memory, a gradient at every step.", color="#B9CBDC", fontsize=24)
    figure.savefig(STATIC / "social.png", metadata={"Software": None}, facecolor=NAVY)


if __name__ == "__main__":
    main()
