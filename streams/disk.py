"""The pages of one partition on disk: a cache of the compacted `gate-state` topic, for more pages than memory holds.

It is written after the transaction that wrote the topic, so it never knows more than the topic; it may know less, by
the transactions before a crash. So it remembers up to which offset of the topic it is complete, and reads on from
there when it is opened. One that is of another format, of another topic, or older than the topic's tombstones is thrown
away and made anew. Deleting the folder costs time, not data.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from processors.digest import ref_number
from processors.store import PageKey, Row

FORMAT = 4
# Of each partition, and a worker may have all twelve.
CACHE_KB = 8 * 1024
# In the place of a due time: before every other.
_UNKNOWN = -1
# A page has a row number: without, its bytes would lie in the tree of keys itself, and each look and write would take
# twice as long, in a file of twice the size (measured on 60,000 pages of 1.3 KB).
_SCHEMA = """
create table page (key text primary key, due integer, pending integer not null, value blob not null);
create index page_due on page (due) where due is not null;
create table ref (hash integer, key text, primary key (hash, key)) without rowid;
create table beside (key blob primary key, value blob not null) without rowid;
create table meta (name text primary key, value text not null) without rowid;
create table total (pages integer not null, pending integer not null);
insert into total values (0, 0);
create trigger page_comes after insert on page
begin update total set pages = pages + 1, pending = pending + new.pending; end;
create trigger page_goes after delete on page
begin update total set pages = pages - 1, pending = pending - old.pending; end;
create trigger page_waits after update of pending on page when new.pending != old.pending
begin update total set pending = pending + new.pending - old.pending; end;
"""
# To count the rows of millions would take seconds, so each write keeps count: a replaced row is updated, not made anew.
_PUT = """
insert into page values (?, ?, ?, ?)
on conflict (key) do update set due = excluded.due, pending = excluded.pending, value = excluded.value
"""


class Disk:
    """A `Store`. One process, one partition, one file.

    next_offset: of the state topic, the first not taken in. mark: of the policies under which what is known of its
    pages holds (`schemas.page.policies_mark`), 0 = none yet.
    """

    def __init__(self, path: Path, *, topic: str, now_s: float, stale_s: float) -> None:
        """topic: whose cache it is, with the cluster's name. stale_s: age from which it is made anew."""
        self._path = path
        self._given_ms = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open()
        self._topic = topic
        if not self._is_usable(topic, now_s, stale_s):
            self.make_anew()
        meta = self._meta()
        self.next_offset, self.mark = int(meta.get("next_offset", "0")), int(meta.get("mark", "0"))

    def make_anew(self) -> None:
        """Forget everything."""
        self._db.close()
        for end in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        self._db = self._open()
        with self._db:
            self._db.executescript(_SCHEMA)
            self._set("format", str(FORMAT))
            self._set("topic", self._topic)
        self.next_offset = self.mark = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, key: PageKey) -> bytes | None:
        found = self._db.execute("select value from page where key = ?", (_text(key),)).fetchone()
        return None if found is None else bytes(found[0])

    def due(self, until_ms: int) -> Iterator[PageKey]:
        """Those that it gave since the last write are in use, and not given again."""
        span = (self._given_ms, until_ms)
        rows = self._db.execute("select key from page where due > ? and due <= ? order by due, key", span).fetchall()
        self._given_ms = max(span)
        return (_key(row[0]) for row in rows)

    def named(self, ref: str) -> Iterable[PageKey]:
        rows = self._db.execute("select key from ref where hash = ?", (ref_number(ref),)).fetchall()
        return [_key(row[0]) for row in rows]

    def write(self, rows: Mapping[PageKey, Row | None]) -> None:
        with self._db:
            self._write(rows)

    def every(self) -> Iterator[PageKey]:
        last = ""
        while rows := self._db.execute(
            "select key from page where key > ? order by key limit 1000", (last,)
        ).fetchall():
            yield from (_key(row[0]) for row in rows)
            last = rows[-1][0]

    def count(self) -> int:
        return int(self._db.execute("select pages from total").fetchone()[0])

    def pending(self) -> int:
        """(edit, policy) pairs that wait."""
        return int(self._db.execute("select pending from total").fetchone()[0])

    def beside(self) -> list[tuple[bytes, bytes]]:
        """What the topic holds beside pages."""
        return [(bytes(key), bytes(value)) for key, value in self._db.execute("select key, value from beside")]

    def unknown(self) -> list[PageKey]:
        """The pages of which it was not known what follows from them when they were written."""
        return [_key(row[0]) for row in self._db.execute("select key from page where due = ?", (_UNKNOWN,))]

    def commit(
        self,
        rows: Mapping[PageKey, Row | None],
        beside: Mapping[bytes, bytes | None],
        next_offset: int,
        now_s: float,
        mark: int | None = None,
    ) -> None:
        """Take in what one transaction wrote to the topic, in one of our own.

        mark: the policies under which all pages were looked at by now, None = those that it was before.
        """
        with self._db:
            self._write(rows)
            for key, value in beside.items():
                if value is None:
                    self._db.execute("delete from beside where key = ?", (key,))
                else:
                    self._db.execute("insert or replace into beside values (?, ?)", (key, value))
            self._set("next_offset", str(next_offset))
            self._set("written_s", str(now_s))
            if mark is not None and mark != self.mark:
                self._set("mark", str(mark))
        self.next_offset = next_offset
        self.mark = self.mark if mark is None else mark

    def close(self) -> None:
        self._db.close()

    def _write(self, rows: Mapping[PageKey, Row | None]) -> None:
        gone = [(_text(key),) for key, row in rows.items() if row is None]
        put = [(_text(key), *row) for key, row in rows.items() if row is not None]
        kept = [(key, when.due_ms if when.mark else _UNKNOWN, when.pending, value) for key, value, when in put]
        refs = [(ref, key) for key, _, when in put for ref in when.refs]
        self._given_ms = -1
        self._db.executemany("delete from page where key = ?", gone)
        self._db.executemany(_PUT, kept)
        self._db.executemany("insert or ignore into ref values (?, ?)", refs)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, check_same_thread=False)
        try:
            for pragma in ("journal_mode = wal", "synchronous = normal", f"cache_size = -{CACHE_KB}"):
                db.execute(f"pragma {pragma}")
        except sqlite3.DatabaseError:
            # No database at all: the first look at its tables says so again, and it is made anew.
            return db
        return db

    def _is_usable(self, topic: str, now_s: float, stale_s: float) -> bool:
        try:
            meta = self._meta()
        except sqlite3.DatabaseError:
            return False
        written_s = float(meta.get("written_s", "0"))
        return meta.get("format") == str(FORMAT) and meta.get("topic") == topic and now_s - written_s < stale_s

    def _meta(self) -> dict[str, str]:
        return dict(self._db.execute("select name, value from meta").fetchall())

    def _set(self, name: str, value: str) -> None:
        self._db.execute("insert or replace into meta values (?, ?)", (name, value))


def _text(key: PageKey) -> str:
    return f"{key[0]}:{key[1]}"


def _key(text: str) -> PageKey:
    wiki, _, page_id = text.rpartition(":")
    return wiki, int(page_id)
