"""The low-water mark: what may be committed while records are finished out of order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.low_water import LowWater


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Offsets of a log with holes, and the order in which some of them are finished."""
    offsets = draw(st.lists(st.integers(10, 400), unique=True, max_size=40).map(sorted))
    finished = draw(st.permutations(offsets)) if offsets else []
    return offsets, finished[: draw(st.integers(0, len(offsets)))]


@given(histories())
def test_the_mark_is_the_first_offset_that_is_not_done_or_the_position(history: tuple[list[int], list[int]]) -> None:
    offsets, finished = history
    low = LowWater(10)
    for offset in offsets:
        assert low.begin(offset, offset * 1000)
    last = low.mark
    for offset in finished:
        low.done(offset)
        assert low.mark >= last
        last = low.mark
    open_ones = sorted(set(offsets) - set(finished))
    assert low.mark == (open_ones[0] if open_ones else low.position)
    assert low.oldest_ms == (open_ones[0] * 1000 if open_ones else None)
    assert len(low) == len(open_ones)
    assert all(offset in finished for offset in offsets if offset < low.mark)


def test_a_record_that_was_read_before_is_not_begun_again() -> None:
    low = LowWater(5)
    assert not low.begin(4, 0)
    assert low.begin(5, 0)
    assert not low.begin(5, 0)
    assert (low.mark, low.position) == (5, 6)


def test_to_finish_what_was_not_begun_is_an_error() -> None:
    with pytest.raises(KeyError):
        LowWater(0).done(0)
