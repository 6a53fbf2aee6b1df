"""Server-sent events out of bytes, however they are cut into pieces."""

from __future__ import annotations

import pytest
from conftest import shared_data
from hypothesis import given
from hypothesis import strategies as st

from streams.frames import Frame, Frames, FrameTooLarge

STREAM = (
    b":ok\n\n"
    b'event: message\nid: [{"a":1}]\ndata: {"x":"\xc3\xb6"}\n\n'
    b"\n\n"
    b"data: first\ndata:second\n\n"
    b"event: error\ndata: {}\n\n"
    b"id: 7\r\ndata: dos\r\n\r\n"
    b": a comment\ndata: after it\nretry: 10\n\n"
    b"event: message\nid: 8\ndata: not\xff utf-8\n\n"
    b"event: message\nid: 9\ndata: torn"
)
EVENTS = [
    Frame(b"message", b'[{"a":1}]', '{"x":"ö"}'.encode()),
    Frame(b"message", b'[{"a":1}]', b"first\nsecond"),
    Frame(b"error", b'[{"a":1}]', b"{}"),
    Frame(b"message", b"7", b"dos"),
    Frame(b"message", b"7", b"after it"),
    Frame(b"message", b"8", b"not\xff utf-8"),
]


def read(pieces: list[bytes]) -> list[Frame]:
    frames = Frames(10_000_000)
    return [frame for piece in pieces for frame in frames.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_the_events_are_the_same_however_the_stream_is_cut(size: int) -> None:
    assert read([STREAM[at : at + size] for at in range(0, len(STREAM), size)]) == EVENTS


@given(st.lists(st.integers(1, len(STREAM) - 1), max_size=8).map(sorted))
def test_the_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    ends = [*cuts, len(STREAM)]
    assert read([STREAM[begin:end] for begin, end in zip([0, *cuts], ends, strict=True)]) == EVENTS


def test_what_is_not_complete_at_the_end_is_no_event() -> None:
    assert read([b"data: whole\n\ndata: half\n"]) == [Frame(b"message", b"", b"whole")]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert read([b"\xef\xbb\xbfdata: x\n\n"]) == [Frame(b"message", b"", b"x")]


def test_an_event_without_end_is_refused_once_it_is_larger_than_we_read() -> None:
    frames = Frames(1000)
    assert list(frames.feed(b"data: " + b"x" * 900)) == []
    with pytest.raises(FrameTooLarge):
        list(frames.feed(b"x" * 200))


def test_recorded_frames_have_the_bytes_of_their_data_lines() -> None:
    whole = (shared_data() / "events" / "sse" / "page_change.sse").read_bytes()
    lines = [line.removeprefix(b"data:").strip() for line in whole.splitlines() if line.startswith(b"data:")]
    assert [frame.data for frame in read([whole + b"\n\n"])] == lines
