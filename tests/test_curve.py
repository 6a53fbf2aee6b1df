"""The curve of undoing: its estimate, and the picture of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.curve import MEASURED, SECONDS, Window, draw, share_within


def test_when_all_are_undone_the_curve_is_their_share() -> None:
    assert share_within([4, 1, 2, 2], []) == ([1, 2, 4], [25, 75, 100])


def test_what_still_stands_counts_as_undecided_from_when_we_looked_last() -> None:
    #  undone   1 . . 4
    #  standing . 2 . . 6
    times, shares = share_within([1, 4], [2, 6])
    # 1 of 4 at 1 s; at 4 s one of the two that are left.
    assert times == [1, 4]
    assert shares == pytest.approx([25, 62.5])


def test_without_anything_undone_there_is_no_curve() -> None:
    assert share_within([], [3]) == ([], [])


def test_each_measured_curve_rises_at_the_same_times() -> None:
    for shares in MEASURED.values():
        assert len(shares) == len(SECONDS)
        assert list(shares) == sorted(shares)


def test_the_picture_is_written_in_both_formats_and_is_the_same_each_time(tmp_path: Path) -> None:
    windows = [
        Window(name="live", hold_seconds=0, protection=0.0),
        Window(name="fast", hold_seconds=300, protection=0.4),
    ]
    made = []
    for name in ("one", "two"):
        files = [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
        draw([1.0, 20.0], [5.0], windows, files, time_scale=60)
        made.append([file.read_bytes() for file in files])
    png, svg = made[0]
    assert png.startswith(b"\x89PNG")
    assert b"<svg" in svg
    assert made[0] == made[1]


def test_a_run_without_bad_edits_has_a_picture_too(tmp_path: Path) -> None:
    draw([], [], [], [tmp_path / "empty.svg"])
    assert (tmp_path / "empty.svg").stat().st_size > 1000
