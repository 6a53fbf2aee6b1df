"""Server-sent events out of the bytes of a response: many at a time, as they lie in what the socket brought.

The library that opens our connections reads a response line by line and makes texts of all of it, which costs more than
everything else the source does with an event. Here a frame of the usual form is found by two searches, and its data are
never anything but bytes.

Source: WHATWG HTML, server-sent events, 9.2.6. A bare CR does not end a line here: no server of ours sends one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

USUAL = b"event: message\nid: "
DATA = b"\ndata: "
BLANK = re.compile(rb"\r?\n\r?\n")
LINE = re.compile(rb"\r?\n")
BOM = b"\xef\xbb\xbf"


class FrameTooLarge(ValueError):
    """An event that never ends, or only beyond what we read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One event. kind: its type, b"message" by default. sse_id: the last id that the stream gave."""

    kind: bytes
    sse_id: bytes
    data: bytes


class Frames:
    """Cuts a stream into its events. What is incomplete at the end of the stream is none, and dies with this object."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._begun = False
        self._sse_id = b""

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The events that are complete with this piece; take them all. Raises `FrameTooLarge`."""
        if not self._begun:
            self._begun = True
            piece = piece.removeprefix(BOM)
        self._buffer += piece
        if b"\r" in piece or b"\r" in self._buffer[self._searched :]:
            blocks, end = self._blocks_by_pattern()
        else:
            end = self._buffer.rfind(b"\n\n", self._searched)
            blocks = bytes(self._buffer[:end]).split(b"\n\n") if end >= 0 else []
            end = end + 2 if end >= 0 else 0
        del self._buffer[:end]
        # A blank line may be half there.
        self._searched = max(0, len(self._buffer) - 3)
        for block in blocks:
            if frame := self._frame(block):
                yield frame
        if len(self._buffer) > self._max_bytes:
            raise FrameTooLarge(
                f"an event of more than {self._max_bytes} bytes, beginning {bytes(self._buffer[:60])!r}"
            )

    def _blocks_by_pattern(self) -> tuple[list[bytes], int]:
        blocks, begin = [], 0
        for blank in BLANK.finditer(self._buffer, self._searched):
            blocks.append(bytes(self._buffer[begin : blank.start()]))
            begin = blank.end()
        return blocks, begin

    def _frame(self, block: bytes) -> Frame | None:
        if block.startswith(USUAL):
            at = block.find(DATA, len(USUAL))
            data = block[at + len(DATA) :]
            if at > 0 and b"\n" not in data and b"\r" not in block:
                self._sse_id = block[len(USUAL) : at]
                if b"\n" not in self._sse_id:
                    return Frame(b"message", self._sse_id, data)
        return self._any_frame(block)

    def _any_frame(self, block: bytes) -> Frame | None:
        """An event of another form: comments, several data lines, fields in any order."""
        kind, data = b"message", []
        for line in LINE.split(block):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
            elif name == b"event":
                kind = value or b"message"
            elif name == b"id" and b"\0" not in value:
                self._sse_id = value
        return Frame(kind, self._sse_id, b"\n".join(data)) if any(data) else None
