"""Plots of simulated boots. Needs matplotlib, which is an extra: modfs[plot]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from loader.errors import UserError

FORMATS = (".svg", ".png")

# Told apart by mark as well as by colour (Okabe and Ito's, which most people can tell apart).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = "osD^vP*"
_GIB = 1 << 30


def plot_wasted(series: Mapping[str, Sequence[tuple[int, int]]], file: Path, title: str) -> None:
    """Draw wasted memory against processors: (processors, bytes) by the name of each kernel.

    UserError: matplotlib is missing, or the file's name has no known ending. OSError: it cannot
    be written.
    """
    if file.suffix not in FORMATS:
        raise UserError(f"{file}: the name must end in {' or '.join(FORMATS)}", status=1)
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("matplotlib is missing: pip install 'modfs[plot]'", status=1) from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for index, (name, points) in enumerate(series.items()):
        axes.plot(
            [processors for processors, _ in points],
            [wasted / _GIB for _, wasted in points],
            label=name,
            color=_COLOURS[index % len(_COLOURS)],
            marker=_MARKS[index % len(_MARKS)],
            clip_on=False,
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("processors")
    axes.set_ylabel("virtual memory wasted by one boot, GiB")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="kernel", frameon=False)
    # No date and no random ids: the same boots make the same file.
    metadata = {"Date": None} if file.suffix == ".svg" else {}
    with rc_context({"svg.hashsalt": "modfs"}):
        figure.savefig(file, dpi=150, metadata=metadata)
