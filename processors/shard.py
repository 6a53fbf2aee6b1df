"""One partition of the log, walked record by record: the same walk in the gate and in a replay. Pure.

A shard owns the pages of its partition, the policies in force and the watermark. Everything it knows comes from the
records it is given, so the same records give the same decisions, whoever reads them and however fast.

Pages in use are objects, all others are bytes in a `Store`. The caller says when what changed may go there (`flush`):
the gate after its transaction, so that the store never knows more than the topics do.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from processors import gate
from processors.digest import ref_number
from processors.group import Group
from processors.hear import Blocked, Edited, Flagged, Heard, hear
from processors.inforce import InForce
from processors.lineage import find
from processors.plans import Rules
from processors.store import Memory, PageKey, Row, Store
from processors.teach import lessons
from processors.unplaced import Unplaced, event_id, ref_of, title_ref, user_ref
from processors.waits import waiting
from schemas.decision import Decision
from schemas.event import InvalidEvent
from schemas.learned import Learned
from schemas.lessons import Lesson
from schemas.log import (
    KIND_CONTROL,
    KIND_ERASURE,
    KIND_EVENT,
    KIND_SKELETON,
    KIND_TICK,
    Control,
    InvalidRecord,
    Tick,
    decode_control,
    decode_tick,
)
from schemas.page import MARK_KEY, Page, When, read_key
from schemas.page_record import decode_page, encode_page
from schemas.reasons import SetAside, State

_SPARE_DUE = 1000
_ROWS_AT_ONCE = 1000


class Unreadable(ValueError):
    """A record of the log that the gate cannot read; it belongs in the dead-letter topic under `reason`."""

    def __init__(self, reason: SetAside, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Shard:
    """The gate's state for one partition.

    rules: the policies in force, None before the first control record. pending: (edit, policy) pairs that wait.
    hot_pages: so many are in use at most after a `flush`. `beside` collects what changed beside the pages since the
    last one, as records of the state topic; `lessons`, if it is to teach and a rule learns its hold, what can be learnt
    from since then.
    """

    def __init__(self, *, store: Store | None = None, hot_pages: int = 200_000, teaches: bool = False) -> None:
        self.rules: Rules | None = None
        self.lessons: list[Lesson] = []
        self.hot: dict[PageKey, Page] = {}
        self.beside: dict[bytes, bytes | None] = {}
        self.pending = 0
        self._touched: dict[PageKey, None] = {}
        # Those in use on which nothing waits, the longest so first.
        self._idle: dict[PageKey, None] = {}
        self._in_force = InForce(self.beside)
        self._unplaced = Unplaced(self.beside)
        self._teaches = teaches
        self.hot_pages = hot_pages
        self._store = store or Memory()
        self._due: list[tuple[int, PageKey]] = []
        self._refs: dict[str, set[PageKey]] = {}

    @property
    def heard(self) -> int:
        """The watermark of a plain hold in ms, -1 before the first tick."""
        return self._in_force.heard

    def restore(self, beside: Iterable[tuple[bytes, bytes]], fresh: Iterable[PageKey] | None = None) -> None:
        """Take up what an earlier owner wrote beside its pages; those are in the store.

        fresh: the pages of which the store does not know what follows under the policies in force; None = all.
        Raises `InvalidRecord`.
        """
        records = sorted(beside)
        self._in_force.restore(records)
        self.rules = self._in_force.rules
        self._unplaced.restore(records)
        self.beside.clear()
        if self.rules is not None:
            self._look_again(self._store.every() if fresh is None else fresh, self.rules)
        self.pending = self._store.pending()

    def apply(self, kind: bytes | None, value: bytes) -> list[Group]:
        """Walk over one record of `sluice.source.v1`.

        kind: its header of that name. Raises `Unreadable`; the shard is then as it was before.
        """
        try:
            if kind == KIND_EVENT:
                heard = hear(value)
                return [] if heard is None or self.rules is None else self._event(heard, value, self.rules)
            if kind == KIND_TICK:
                return list(self._tick(decode_tick(value)))
            if kind in {KIND_SKELETON, KIND_ERASURE}:
                return []
            if kind == KIND_CONTROL:
                self._control(decode_control(value))
                return []
        except InvalidEvent as exc:
            raise Unreadable(exc.reason, exc.detail) from exc
        except InvalidRecord as exc:
            raise Unreadable(SetAside.WRONG_RECORD, str(exc)) from exc
        raise Unreadable(SetAside.WRONG_RECORD, f"a record of kind {kind!r}")

    def changed(self) -> dict[PageKey, Row | None]:
        """Every page that changed since the last `flush`, as it is to be written; None for one that was forgotten."""
        return {key: self._row(key) for key in sorted(self._touched)}

    def flush(self, rows: Mapping[PageKey, Row | None]) -> None:
        """What `changed` gave is safe elsewhere: move it to the store, and let go of pages beyond `hot_pages`."""
        self._store.write(rows)
        self._note_idle()
        self._touched.clear()
        self.beside.clear()
        self.lessons.clear()
        self._refs.clear()
        self._let_go(len(self.hot) - self.hot_pages)
        if len(self._due) > 2 * len(self.hot) + _SPARE_DUE:
            # Most are of pages that are only in the store by now, which knows when they are due.
            self._due = [(page.due_ms, key) for key, page in self.hot.items() if page.due_ms is not None]
            heapq.heapify(self._due)

    def _note_idle(self) -> None:
        for key in self._touched:
            page = self.hot.get(key)
            if page is None or page.open:
                self._idle.pop(key, None)
            else:
                self._idle[key] = None

    def _let_go(self, excess: int) -> None:
        """First of pages on which nothing waits: the others are needed again as soon as something is due there."""
        for keys in (self._idle, self.hot):
            for key in list(islice(keys, max(0, excess))):
                self._idle.pop(key, None)
                excess -= self.hot.pop(key, None) is not None

    @property
    def count(self) -> int:
        """How many pages are known."""
        return self._store.count()

    def page(self, key: PageKey) -> Page | None:
        """A page, from wherever it is."""
        page = self.hot.get(key)
        if page is None and key not in self._touched:
            value = self._store.get(key)
            if value is not None:
                page = decode_page(value)
                if self.rules is not None:
                    gate.take_up(page, self.rules)
                self.hot[key] = page
                self._schedule(key, page, None)
        return page

    def _event(self, heard: Heard, value: bytes, rules: Rules) -> list[Group]:
        """What no rule in force listens to (blocks, log actions about a title) is not heard, also not by policies that
        come later.
        """
        if type(heard) is Edited or not (ref := ref_of(heard)):
            return self._observe((heard.wiki, heard.page_id), heard, rules)  # type: ignore[union-attr]
        if not (rules.blocks if type(heard) is Blocked else rules.titles):
            return []
        if type(heard) is Flagged and heard.merged_into is not None:
            # What is not known yet has no history that could have changed.
            names = (title_ref(heard.wiki, title) for title in (heard.title, heard.merged_into))
            return [group for name in names for key in self._named(name) for group in self._observe(key, heard, rules)]
        if isinstance(heard, Blocked) or not self._named(ref):
            # It may come before its page's event, so it waits; a block also bars what was made before and comes later.
            self._unplaced.keep(heard, value)
        return [group for key in self._named(ref) for group in self._observe(key, heard, rules)]

    def _observe(self, key: PageKey, heard: Heard, rules: Rules) -> list[Group]:
        page = self.page(key)
        if page is None:
            page = gate.new_page(*key, rules)
        edits, due_ms, page.dirty = page.count, page.due_ms, False
        if self._unplaced and type(heard) is Edited and find(page, heard.rev_id) is None:
            # What is so of the page as a whole counts for its edit from the first.
            for lost in self._unplaced.found(heard, of_pages=True):
                gate.observe(page, lost, rules)
        _, decisions = gate.observe(page, heard, rules)
        if type(heard) is Edited and page.count > edits:
            if rules.blocks or rules.titles:
                self._note_refs(key, heard, rules)
            if self._unplaced:
                for lost in self._unplaced.found(heard):
                    decisions += gate.observe(page, lost, rules)[1]
        if page.dirty:
            if self._teaches and rules.targets:
                self.lessons += lessons(page, heard, is_new=page.count > edits)
            self._keep(key, page, due_ms)
            self.pending += (page.count - edits) * len(rules.names)
        return self._groups(page, event_id(heard), decisions)

    def _tick(self, tick: Tick) -> Iterator[Group]:
        rules = self.rules
        if rules is None:
            return
        # Also where time has not moved: an edit may be held by another rule since, and be due by now.
        self._in_force.hear(tick, rules)
        heard_ms = self._in_force.heard_ms
        until_ms = max(heard_ms)
        self._unplaced.expire(until_ms)
        for key in self._store.due(until_ms):
            self.page(key)
        stalled = []
        while self._due and self._due[0][0] <= until_ms:
            at_ms, key = heapq.heappop(self._due)
            page = self.hot.get(key)
            if page is None or page.due_ms != at_ms:
                continue
            page.dirty = False
            _, decisions = gate.advance(page, heard_ms, rules)
            if page.due_ms is not None and page.due_ms <= until_ms:
                stalled.append((page.due_ms, key))  # waits for a stream that is heard less far than others
            if page.dirty or not (page.count or page.waiting):
                self._keep(key, page, page.due_ms)
            if page.due_ms is not None and page.due_ms > until_ms:
                heapq.heappush(self._due, (page.due_ms, key))
            yield from self._groups(page, f"tick-{tick.number}", decisions)
        for entry in stalled:
            heapq.heappush(self._due, entry)

    def _control(self, control: Control) -> None:
        before = self.rules
        self._in_force.take(control)
        self.rules = self._in_force.rules
        if self.rules is None or isinstance(control, Learned):
            return
        for page in self.hot.values():
            gate.take_up(page, self.rules)
        others = before if before is not None and before.mark != self.rules.mark else None
        untouched = (key for key in self._store.every() if key not in self._touched)
        self.pending = self._look_again(untouched, self.rules, others)
        self._due, self._refs = [], {}
        for key, page in self.hot.items():
            self._schedule(key, page, None)
            self.pending += gate.pending(page, self.rules)
            for ref in self._refs_of(page, self.rules) if key in self._touched else ():
                self._refs.setdefault(ref, set()).add(key)

    def _look_again(self, keys: Iterable[PageKey], rules: Rules, before: Rules | None = None) -> int:
        """Other policies, other deadlines: a page keeps its bytes, only what follows from them is new.

        before: the policies that end. A page that was last written before they came does not know what they meant to
        it, and counts as changed where that matters.
        Returns how many (edit, policy) pairs wait on those that are not in use.
        """
        waits, rows = 0, {}
        for key in keys:
            value = self._store.get(key)
            if value is None:
                continue
            page = decode_page(value)
            last = None if before is None or page.mark == before.mark or gate.lies_still(page) else before
            gate.take_up(page, rules)
            if last is not None and self._knows_more(key, page, value, last, rules):
                continue
            rows[key] = row = self._as_row(page, value, rules)
            waits += 0 if key in self.hot else row.when.pending
            if len(rows) == _ROWS_AT_ONCE:
                self._store.write(rows)
                rows = {}
        self._store.write(rows)
        return waits

    def _knows_more(self, key: PageKey, written: Page, value: bytes, before: Rules, rules: Rules) -> bool:
        page = self.hot.get(key) or gate.take_up(gate.take_up(decode_page(value), before), rules)
        if encode_page(page) == encode_page(written):
            return False
        self.hot[key], self._touched[key] = page, None
        return True

    def _keep(self, key: PageKey, page: Page, scheduled_ms: int | None) -> None:
        self._touched[key] = None
        if page.count or page.waiting:
            self.hot[key] = page
            self._schedule(key, page, scheduled_ms)
        else:
            self.hot.pop(key, None)

    def _schedule(self, key: PageKey, page: Page, scheduled_ms: int | None) -> None:
        if page.due_ms is not None and page.due_ms != scheduled_ms:
            heapq.heappush(self._due, (page.due_ms, key))

    def _row(self, key: PageKey) -> Row | None:
        page = self.hot.get(key)
        if page is None or self.rules is None:
            return None
        return self._as_row(page, encode_page(page), self.rules)

    def _as_row(self, page: Page, value: bytes, rules: Rules) -> Row:
        numbers = frozenset(map(ref_number, self._refs_of(page, rules)))
        return Row(value, When(rules.mark, page.due_ms, gate.pending(page, rules), numbers))

    def _refs_of(self, page: Page, rules: Rules) -> set[str]:
        refs: set[str] = set()
        if rules.blocks:
            refs = {user_ref(page.wiki, edit.user) for edit in waiting(page, rules) if edit.user}
        if rules.titles and page.title:
            refs.add(title_ref(page.wiki, page.title))
        return refs

    def _note_refs(self, key: PageKey, edit: Edited, rules: Rules) -> None:
        if rules.blocks and edit.user:
            self._refs.setdefault(user_ref(edit.wiki, edit.user), set()).add(key)
        if rules.titles:
            self._refs.setdefault(title_ref(edit.wiki, edit.title), set()).add(key)

    def _named(self, ref: str) -> list[PageKey]:
        keys = self._refs.get(ref, set()).union(self._store.named(ref))
        if ref.startswith("t:"):
            title = ref.split(":", 2)[2]
            keys = {key for key in keys if (page := self.page(key)) is not None and page.title == title}
        return sorted(keys)

    def _groups(self, page: Page, cause: str, decisions: list[Decision]) -> list[Group]:
        if not decisions or self.rules is None:
            return []
        shared = gate.rules_for(page, self.rules).shared
        if len(decisions) > 1:
            # Whichever policies share a lane of this page.
            decisions.sort(key=self.rules.place)
        for decision in decisions:
            if decision.state is not State.RETRACTED:
                self.pending -= 1 if shared is None else len(shared[decision.policy])
        return [Group(page.wiki, page.page_id, cause, tuple(decisions), shared)]


def rebuilt(
    records: Iterable[tuple[bytes, bytes]], *, whens: Mapping[bytes, When] | None = None, teaches: bool = False
) -> Shard:
    """A shard in memory from the last record of each key of the state topic, and what their headers say.

    Raises `InvalidRecord`.
    """
    known = whens or {}
    rows: dict[PageKey, Row] = {}
    beside: dict[bytes, bytes] = {}
    for key, value in records:
        if key.startswith(b"~"):
            beside[key] = value
        else:
            rows[read_key(key)] = Row(value, known.get(key, When()))
    store = Memory()
    store.write(rows)
    mark = int(beside.get(MARK_KEY, b"0"))
    shard = Shard(store=store, teaches=teaches)
    shard.restore(beside.items(), [key for key, row in rows.items() if row.when.mark != mark])
    return shard
