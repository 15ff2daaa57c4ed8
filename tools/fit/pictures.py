"""Plots of predictions: each machine's failed loads, and each module's, against the real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tools.fit.measure import Prediction

_AGAIN = ("-2", "-kasan")  # what is much like another, or apart: no picture of its modules
_TICKS = (0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 5, 7)
_REAL, _SIMULATED, _BASELINE = "#000000", "#0072B2", "#D55E00"  # Okabe and Ito's


def draw(predictions: Sequence[Prediction], folder: Path) -> None:
    """Write machines.svg and modules.svg into ``folder``. OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(8, 1.2 + 0.4 * len(predictions)), layout="constrained")
    _machines(figure.add_subplot(), predictions)
    _save(figure, folder / "machines.svg")
    many = [one for one in predictions if not one.case.name.endswith(_AGAIN)]
    columns = 3
    rows = -(-len(many) // columns)
    figure = Figure(figsize=(9, 3 * rows), layout="constrained")
    for at, one in enumerate(many):
        _modules(figure.add_subplot(rows, columns, at + 1), one)
    _save(figure, folder / "modules.svg")


def _machines(axes: Axes, predictions: Sequence[Prediction]) -> None:
    """All as parts of what really failed: one is right."""
    for at, one in enumerate(predictions):
        real = one.case.total
        least, most = one.interval
        axes.plot([least / real, most / real], [at, at], color=_SIMULATED, linewidth=3, alpha=0.4)
        axes.plot(one.middle / real, at, "o", color=_SIMULATED)
        axes.plot(1 + one.baseline_off, at, "D", color=_BASELINE, markerfacecolor="none")
    axes.axvline(1, color=_REAL, linewidth=1)
    axes.set_yticks(
        range(len(predictions)), [f"{p.case.name} ({p.case.total})" for p in predictions]
    )
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("failed loads, predicted / real")
    handles = [
        axes.plot([], [], "o", color=_SIMULATED, label="simulated: median, 5 to 95 %")[0],
        axes.plot([], [], "D", color=_BASELINE, markerfacecolor="none", label="all but one")[0],
    ]
    axes.legend(handles=handles, frameon=False, loc="lower right")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _modules(axes: Axes, one: Prediction) -> None:
    baseline = one.case.baseline()
    names = sorted(baseline, key=lambda name: one.case.failed.get(name, 0))
    real = [one.case.failed.get(name, 0) for name in names]
    most = max(*real, *baseline.values()) * 1.05
    axes.plot([0, most], [0, most], color=_REAL, linewidth=1)
    axes.plot(real, [baseline[name] for name in names], "D", color=_BASELINE, alpha=0.6,
        markerfacecolor="none")  # fmt: skip
    axes.plot(real, [one.rows[name] for name in names], "o", color=_SIMULATED, alpha=0.6)
    axes.set_title(f"{one.case.name}", fontsize=10)
    axes.set_xlabel("really failed")
    axes.set_ylabel("predicted")
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, file: Path) -> None:
    with rc_context({"svg.hashsalt": "modfs", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
