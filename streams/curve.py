"""The curve that everything turns on: how soon a bad edit is undone, and what each window keeps from partners.

Drawn as PNG and SVG: what was measured on the real wikis, and beside it what a run has seen, on one axis of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from processors.survival import share_within

# Share of bad edits that are undone within so many seconds, in per cent. Computed from public histories by SHA-1: the
# article Anarchism of the English Wikipedia 2002–18 (17,624 edits, 2,553 bad), eight busy items of Wikidata 2012–25
# (13,695; 1,039); and, by size and the word revert, 25 contentious articles (121,302; 20,156).
SECONDS = (60, 300, 900, 3600, 6 * 3600, 86_400, 2 * 86_400, 7 * 86_400)
MEASURED = {
    "25 contentious articles": (25, 49, 64, 79, 93, 98.5, 99.3, 99.9),
    "Anarchism, 2002–18": (9, 28, 46, 65, 86, 97.7, 98.9, 99.8),
    "8 busy Wikidata items": (6, 16, 29, 54, 81, 92, 96, 99.2),
}
TICKS = {
    1: "1 s",
    10: "10 s",
    60: "1 min",
    300: "5 min",
    3600: "1 h",
    6 * 3600: "6 h",
    86_400: "1 d",
    7 * 86_400: "7 d",
}
# Told apart by people who do not see all colours, too.
GREYS = ("#444444", "#777777", "#aaaaaa")
OURS, WINDOW = "#0072b2", "#d55e00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """hold_seconds: on the axis of the real wikis. protection: share of bad edits that partners never saw, 0 to 1."""

    name: str
    hold_seconds: float
    protection: float


def draw(
    undone_seconds: Sequence[float],
    standing_seconds: Sequence[float],
    windows: Sequence[Window],
    files: Sequence[Path],
    *,
    time_scale: float = 1.0,
) -> None:
    """Write the picture to each of `files`, in the format of its suffix.

    undone_seconds: how long those stood that were undone; standing_seconds: how long the others had stood when we
    looked last. Both in this run's seconds; one of them is `time_scale` seconds of
    the real wikis. A hold of 0 has no place on an axis of logarithms: it is drawn at its left edge.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.add_subplot()
    for grey, marker, (name, shares) in zip(GREYS, "os^", MEASURED.items(), strict=True):
        axes.plot(SECONDS, shares, color=grey, marker=marker, markersize=4, linewidth=1, label=f"measured: {name}")
    if undone_seconds:
        times, ours = share_within(undone_seconds, standing_seconds)
        label = f"this run: {len(undone_seconds)} of {len(undone_seconds) + len(standing_seconds)} undone so far"
        axes.step(
            [at * time_scale for at in times],
            [100 * share for share in ours],
            where="post",
            color=OURS,
            linewidth=2,
            label=label,
        )
    _mark(axes, windows)
    axes.set(xscale="log", xlim=(1, 14 * 86_400), ylim=(0, 103))
    axes.set_xticks(list(TICKS), list(TICKS.values()))
    axes.minorticks_off()
    axes.set_xlabel("time after the edit" + ("" if time_scale == 1 else f" (1 s of this run = {time_scale:g} s here)"))
    axes.set_ylabel("bad edits undone by then, %")
    axes.set_title("How soon bad edits are undone, and what each window keeps from partners", loc="left", fontsize=11)
    axes.grid(visible=True, color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=8)
    for file in files:
        # Without its date the same numbers give the same bytes.
        dateless: Mapping[str, None] = {"Date": None} if file.suffix == ".svg" else {}
        with rc_context({"svg.hashsalt": "sluice"}):
            figure.savefig(file, dpi=150, metadata=dateless)


def _mark(axes: object, windows: Sequence[Window]) -> None:
    """Each window where it stands: its hold, and the protection it really gave."""
    for window in windows:
        at = max(window.hold_seconds, 1.2)
        axes.plot([at], [100 * window.protection], "D", color=WINDOW, markersize=8, clip_on=False)  # type: ignore[attr-defined]
        axes.annotate(  # type: ignore[attr-defined]
            f"window “{window.name}”: {window.protection:.0%} kept away",
            (at, 100 * window.protection),
            textcoords="offset points",
            xytext=(9, 5 if window.protection < 0.1 else -12),
            color=WINDOW,
            fontsize=9,
        )
