"""One process that parses: pages come in on its standard input, records go out on its standard output.

It has a bound on memory, and dies with its parent. Its parent has the deadline, since code in C hears no signal.

    request    1 byte what to leave out, 1 place of the reason in `ContentAbsent`, 4 length, content
    answer     1 byte, one of `ENRICHED` …, 8 event time in ms, 4 length, the record or what is wrong
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import struct
import sys
from typing import BinaryIO

from processors.enrich import Words, enrich, without_content, without_page
from schemas.content import decode_content
from schemas.enriched import ContentAbsent, encode_enriched
from schemas.event import InvalidEvent, milliseconds
from schemas.log import InvalidRecord
from streams.siteinfo import words_of

REQUEST = struct.Struct("!BBI")
ANSWER = struct.Struct("!BQI")
ENRICHED, UNREADABLE, FAILED, NO_MEMORY, READY = range(5)
REASONS = tuple(ContentAbsent)
NOTHING, PAGE, ALL = range(3)
# How a process exits that has no memory left.
NO_MEMORY_CODE = 77
PR_SET_PDEATHSIG = 1


def main() -> int:
    """Arguments: bytes of memory that this process may have, process id of the parent, folder of siteinfo or ""."""
    memory_bytes, parent, words = int(sys.argv[1]), int(sys.argv[2]), words_of(sys.argv[3])
    _die_with(parent)
    # Who stops the whole group stops the parent, which may still want a page of us; it ends us by closing.
    for stops in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stops, signal.SIG_IGN)
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # A page makes many objects and no cycles: look for those rarely, and never among the modules.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    _answer(answers, READY, 0, b"")
    try:
        serve(sys.stdin.buffer, answers, words)
    except MemoryError:
        # Not even an answer could be made.
        os._exit(NO_MEMORY_CODE)
    return 0


def serve(requests: BinaryIO, answers: BinaryIO, words: Words) -> None:
    """Answer until the parent closes."""
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        left_out, reason, length = REQUEST.unpack(head)
        payload = requests.read(length)
        try:
            at_ms, record = work(payload, left_out, REASONS[reason], words)
        except (InvalidRecord, InvalidEvent) as exc:
            # orjson has no other word for it.
            kind = NO_MEMORY if "Not enough memory" in str(exc) else UNREADABLE
            _answer(answers, kind, 0, str(exc).encode("utf-8", "replace"))
        except MemoryError:
            _answer(answers, NO_MEMORY, 0, b"")
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with one page, the next is read
            _answer(answers, FAILED, 0, repr(exc).encode("utf-8", "replace"))
        else:
            _answer(answers, ENRICHED, at_ms, record)


def work(payload: bytes, left_out: int, reason: ContentAbsent, words: Words) -> tuple[int, bytes]:
    """When the event was made, and the enriched record as bytes. Raises `InvalidRecord` and `InvalidEvent`."""
    content = decode_content(payload)
    if left_out == NOTHING:
        record = enrich(content, words)
    elif left_out == PAGE:
        record = without_page(content, reason, words)
    else:
        record = without_content(content, reason)
    return milliseconds(record.change.heard_at), encode_enriched(record)


def _answer(answers: BinaryIO, kind: int, at_ms: int, payload: bytes) -> None:
    answers.write(ANSWER.pack(kind, at_ms, len(payload)))
    answers.write(payload)
    answers.flush()


def _die_with(parent: int) -> None:
    """A page that takes for ever must not outlive a parent that was killed. Where there is no `prctl`, it may."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
