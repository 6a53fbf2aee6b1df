"""What was hidden lately, for what comes late: an event that was under way, a dead letter of a step behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processors.skeleton import concerns

Revisions = dict[tuple[str, int], set[int | None]]
# Of so many pages: days of them.
KNOWN_PAGES = 10_000


class Remembered:
    """(wiki, page) → the revisions that were hidden; None among them: all of the page."""

    def __init__(self) -> None:
        self.revisions: Revisions = {}
        self._pages: dict[tuple[str, int], int] = {}

    def add(self, revisions: Mapping[tuple[str, int], set[int | None]]) -> None:
        for page, revs in revisions.items():
            self.revisions[page] = self.revisions.pop(page, set()) | revs
            self._pages |= {(page[0], rev): page[1] for rev in revs if rev is not None}
        while len(self.revisions) > KNOWN_PAGES:
            self._drop(next(iter(self.revisions)))

    def learn(self, proof: Mapping[str, Any]) -> None:
        """proof: of an erasure, as it stands in the log."""
        page = str(proof["wiki"]), int(proof["page_id"])
        if proof["rev_id"] is not None:
            return self.add({page: {int(proof["rev_id"])}})
        keys = [each["key"].split(":", 3) for each in proof["records"]]
        revs = {int(rev) for wiki, page_id, rev, _ in keys if (wiki, page_id) == (page[0], str(page[1]))}
        return self.add({page: {None, *revs}})

    def shown(self, wiki: str, page_id: int, rev_id: int) -> None:
        """The revision is before readers again."""
        if revs := self.revisions.get((wiki, page_id)):
            revs.discard(rev_id)
            self._pages.pop((wiki, rev_id), None)
            if not revs:
                del self.revisions[wiki, page_id]

    def concerning(self, key: bytes, payload: bytes) -> Revisions:
        """What was hidden of what an event of the log is about or repeats; empty if nothing. key: its key there.

        Of a page that was hidden these are the revisions that it had: it may be there again, and be edited.
        """
        parts = key.split(b":", 3)
        if len(parts) != 4 or not parts[2]:
            return {}
        wiki, rev_id = parts[0].decode(), int(parts[2])
        page_id = int(parts[1]) if parts[1] else self._pages.get((wiki, rev_id))
        revs = None if page_id is None else self.revisions.get((wiki, page_id))
        if page_id is None or not revs:
            return {}
        found: Revisions = {(wiki, page_id): revs - {None}}
        return found if concerns(key, payload, found) else {}

    def _drop(self, page: tuple[str, int]) -> None:
        for rev in self.revisions.pop(page):
            if rev is not None:
                self._pages.pop((page[0], rev), None)
