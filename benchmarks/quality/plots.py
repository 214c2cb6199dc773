"""Plots beside the results, drawn without a display."""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import RESULTS

from recblr.files import replacing


def new_figure(width: float, height: float = 3.2) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_plot(name: str, figure: Figure) -> Path:
    """Write `results/<name>.png`, and give its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return path
