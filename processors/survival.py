"""How many of those that stand are undone within a time, where some were only watched for a while. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def share_within(undone: Sequence[float], standing: Sequence[float]) -> tuple[list[float], list[float]]:
    """The share that is undone within each time, by Kaplan and Meier's estimate.

    undone: how long those stood that were undone. standing: how long the others had stood when we looked last: what
    becomes of them is not known. One unit for both. Returns times in order, and the share at each, 0 to 1.
    """
    ends, watched = sorted(undone), sorted(standing)
    times: list[float] = []
    shares: list[float] = []
    left, at = 1.0, 0
    while at < len(ends):
        after = bisect_right(ends, ends[at], at)
        at_risk = len(ends) - at + len(watched) - bisect_left(watched, ends[at])
        left *= 1 - (after - at) / at_risk
        times.append(ends[at])
        shares.append(1 - left)
        at = after
    return times, shares
