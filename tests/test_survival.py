"""The estimate of how many are undone within a time."""

from __future__ import annotations

import pytest

from processors.survival import share_within


def test_when_all_are_undone_the_curve_is_their_share() -> None:
    assert share_within([4, 1, 2, 2], []) == ([1, 2, 4], [0.25, 0.75, 1.0])


def test_what_still_stands_counts_as_undecided_from_when_we_looked_last() -> None:
    #  undone   1 . . 4
    #  standing . 2 . . 6
    times, shares = share_within([1, 4], [2, 6])
    # 1 of 4 at 1 s; at 4 s one of the two that are left.
    assert times == [1, 4]
    assert shares == pytest.approx([0.25, 0.625])


def test_without_anything_undone_there_is_no_curve() -> None:
    assert share_within([], [3]) == ([], [])
