"""Figures that are written to files, for which there need be no display."""

from __future__ import annotations

from recblr.errors import ConfigError, short_reason

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ValueError as error:  # its settings
    raise ConfigError(f"Matplotlib does not start ({short_reason(error)}): correct or unset MPLBACKEND") from error


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
