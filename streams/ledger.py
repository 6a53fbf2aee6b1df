"""The ledger of a simulated wiki: everything it did, offered and served, in the order in which it came about.

One JSON object a line, keys in alphabetical order, only ever appended to. Times are Unix milliseconds of *world* time:
two ledgers of one world can be compared whatever speed they were made at. `kind` says what a line is.

The world itself; the same bytes for the same arguments, whoever listens and whenever:

- `world`, the first line: `version` 1, `random_state`, `begin_ms`, `end_ms` (no edit begins later), `rate` (changes a
  second), `time_scale` (how many times quicker than on the real wikis a bad edit is undone), `wikis` (their names).
- `did`: an act. `at_ms`, `wiki`, `page_id`, `title` (as it is after the act, in spaces), `rev_id` and `parent_id` (null
  where the act made or concerns no revision), `what`, `how`, `undoes` (revisions of this page that are taken back),
  `user` (who acted; null = the world itself), `sha1` (base-36, of the revision's text; null without a revision) and
  `size_bytes`.
  `what` is: `good`; `create` (a good new page); `vandalism` (`how` = which kind; `restore` brings text back that was
  undone before, and then `undoes` names who had undone it); `self_reverted` (its author is about to take it back);
  `undo` (`how` = `rollback`, `undo` or `manual`: exact, `self` in front where it is one's own; `bot` by a bot's
  rollback) and `repair` (not exact, `how` = `partial`); `move`, `redirect` (what a move leaves behind); `delete` (`how`
  is null or `suppressed`; `undoes` = the vandalism that it ends), `undelete`; `hide` and `suppress` (`how` = what of
  text, user and comment is hidden from now on, joined by `,`; of the revision `rev_id`); `import` (a revision from long
  ago); `protect` (its dummy revision is announced by no page_change); `null_edit` (nobody hears of it); `patrol`,
  `review` (`how` = the log's action), `block` (`how` = the name that is blocked), `score` (`how` = the probability).
- `offered`: a message that the streams serve from then on. `topic`, `offset`, and `event`: the bytes behind `data:`,
  `meta` with topic, partition and offset included (its keys are in the order in which they are served); for bytes that
  are no JSON object `bytes_base64` in its place. Canaries, and the second copy of a duplicate, are offered too.
  `at_ms` never goes back; `meta.dt` of the event can.

What clients made of it; other clients, other lines:

- `served`: one revision of one answer of an API. `domain`, `rev_id`, `answer`: `text`, `hidden`, `missing` or
  `wrong_text` (falsified on purpose); `sha256` (hex) and `size_bytes` of the UTF-8 text as served, null without one;
  `form`: `wikitext` or `html`.
- `opened`, `closed`, `refused`: a connection to the streams. `connection` counts them; `opened` has `streams` and
  `last_event_id`, `closed` has `events` (how many were sent) and `torn`, `refused` has `status`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """One act of the world; the fields are those of the line."""

    at_ms: int
    wiki: str
    page_id: int
    title: str
    what: str
    rev_id: int | None = None
    parent_id: int | None = None
    how: str | None = None
    undoes: tuple[int, ...] = ()
    user: str | None = None
    sha1: str | None = None
    size_bytes: int | None = None


class Ledger:
    """Appends to a file that is open for binary writing; the caller closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def world(
        self,
        *,
        random_state: int,
        begin_ms: int,
        end_ms: int,
        rate: float,
        time_scale: float,
        wikis: Sequence[str],
    ) -> None:
        self._write(
            kind="world",
            version=VERSION,
            random_state=random_state,
            begin_ms=begin_ms,
            end_ms=end_ms,
            rate=rate,
            time_scale=time_scale,
            wikis=list(wikis),
        )

    def did(self, act: Did) -> None:
        self._write(
            kind="did",
            at_ms=act.at_ms,
            wiki=act.wiki,
            page_id=act.page_id,
            title=act.title,
            rev_id=act.rev_id,
            parent_id=act.parent_id,
            what=act.what,
            how=act.how,
            undoes=act.undoes,
            user=act.user,
            sha1=act.sha1,
            size_bytes=act.size_bytes,
        )

    def offered(self, at_ms: int, topic: str, offset: int, data: bytes, *, is_event: bool = False) -> None:
        """data: what is served behind `data: `. It is put into the line as it is, not read and written again.

        is_event: the caller knows that it is a JSON object in one line.
        """
        if is_event or _is_object(data):
            what = b'"event":' + data + b',"kind":"offered"'
        else:
            what = b'"bytes_base64":"' + base64.b64encode(data) + b'","kind":"offered"'
        head, tail = b'{"at_ms":%d,' % at_ms, b',"offset":%d,"topic":"%b"}\n' % (offset, topic.encode())
        self._file.write(head + what + tail)

    def served(self, at_ms: int, domain: str, rev_id: int, answer: str, text: str | None, form: str) -> None:
        """answer: text, hidden, missing or wrong_text. text: as served, None without one. form: wikitext or html."""
        data = None if text is None else text.encode()
        self._write(
            kind="served",
            at_ms=at_ms,
            domain=domain,
            rev_id=rev_id,
            answer=answer,
            sha256=None if data is None else hashlib.sha256(data).hexdigest(),
            size_bytes=None if data is None else len(data),
            form=form,
        )

    def opened(self, at_ms: int, connection: int, streams: Sequence[str], last_event_id: str | None) -> None:
        self._write(
            kind="opened", at_ms=at_ms, connection=connection, streams=list(streams), last_event_id=last_event_id
        )

    def closed(self, at_ms: int, connection: int, *, events: int, torn: bool) -> None:
        self._write(kind="closed", at_ms=at_ms, connection=connection, events=events, torn=torn)

    def refused(self, at_ms: int, connection: int, status: int) -> None:
        self._write(kind="refused", at_ms=at_ms, connection=connection, status=status)

    def _write(self, **line: Any) -> None:
        self._file.write(dump_line(line))


def dump_line(line: Mapping[str, Any]) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _is_object(data: bytes) -> bool:
    if not data.startswith(b"{") or b"\n" in data:
        return False
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True
