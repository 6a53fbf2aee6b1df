"""The curve of undoing: its estimate, and the picture of it."""

from __future__ import annotations

from pathlib import Path

from streams.curve import MEASURED, SECONDS, Window, draw


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
