"""The bench's windows in Quix Streams from Kafka to Kafka, run by a Python that has it. Prints CPU seconds and MB.

Run: `python peer_quix.py BOOTSTRAP SOURCE OUT STORE NAME=HOLD_MS...`. It ends when the log brings nothing more. At
least once, as it comes: state in RocksDB with its changelog topic, checkpoints every 5 s. The log's key is the
partition, and so is the state's, since a tick concerns every page of it; in there each page has a value of its own, and
each second another with what falls due in it.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson
from quixstreams import Application, State
from windows import Windows, peak_mb

# Nothing is due for a while where it ends; it would wait for the next record for ever.
IDLE_SECONDS = 5.0


class Kept:
    """One partition's windows, each page loaded from the state when it is needed and put back when it has changed."""

    def __init__(self, windows: Sequence[tuple[str, int]], state: State) -> None:
        self._windows = windows
        self._state = state

    def edit(self, value: bytes) -> list[bytes]:
        page_id = orjson.loads(value)["page"]["page_id"]
        page = self._page(page_id)
        made = page.edit(value)
        self._put(page_id, page)
        return made

    def tick(self, value: bytes) -> list[bytes]:
        heard_ms = min(orjson.loads(value)["heard_ms"].values())
        second, last = self._state.get("second", heard_ms // 1000), heard_ms // 1000
        due: list[tuple[int, int, int, int]] = []
        for each in range(second, last + 1):
            due += self._due(each)
        made: list[bytes] = []
        for entry in sorted(due):
            if entry[0] <= heard_ms:
                _, rev, window, page_id = entry
                page = self._page(page_id)
                if (rev, window) in page.waiting:
                    page._release(rev, window, entry[0], made)
                    self._put(page_id, page)
        for each in range(second, last):
            self._state.delete(f"due:{each}")
        left = [entry for entry in self._due(last) if entry[0] > heard_ms]
        self._state.set_bytes(f"due:{last}", pickle.dumps(left))
        self._state.set("second", last)
        return made

    def _page(self, page_id: int) -> Windows:
        page = Windows(self._windows)
        kept = self._state.get_bytes(f"page:{page_id}")
        if kept is not None:
            page.rings, page.waiting, page.out, page.newest, page.late = pickle.loads(kept)
        return page

    def _put(self, page_id: int, page: Windows) -> None:
        for fire_ms, rev, window in page.due:
            second = fire_ms // 1000
            self._state.set_bytes(f"due:{second}", pickle.dumps([*self._due(second), (fire_ms, rev, window, page_id)]))
        kept = (page.rings, page.waiting, page.out, page.newest, page.late)
        self._state.set_bytes(f"page:{page_id}", pickle.dumps(kept))

    def _due(self, second: int) -> list[tuple[int, int, int, int]]:
        kept = self._state.get_bytes(f"due:{second}")
        return [] if kept is None else pickle.loads(kept)


def main() -> None:
    bootstrap, source, out, store = sys.argv[1:5]
    windows = [(name, int(hold_ms)) for name, _, hold_ms in (each.partition("=") for each in sys.argv[5:])]

    def decide(value: bytes, key: bytes, timestamp: int, headers: Any, state: State) -> list[bytes]:
        kind = headers[0][1]
        if kind == b"control":
            return []
        kept = Kept(windows, state)
        return kept.tick(value) if kind == b"tick" else kept.edit(value)

    app = Application(
        bootstrap, consumer_group=f"{out}.quix", auto_offset_reset="earliest", state_dir=store, loglevel="WARNING"
    )
    raw = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
    made = {"key_serializer": "bytes", "value_serializer": "bytes"}
    decided = app.dataframe(app.topic(source, **raw)).apply(decide, stateful=True, expand=True, metadata=True)
    decided.to_topic(app.topic(out, **made))
    began = time.process_time()
    app.run(timeout=IDLE_SECONDS)
    print(time.process_time() - began, peak_mb())


if __name__ == "__main__":
    main()
