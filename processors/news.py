"""What one look through the log found hidden, and shown again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from processors.skeleton import Hidden, Shown, hidden_by, shown_by

# (wiki, page, revision).
Place = tuple[str, int, int]


class ToShow(NamedTuple):
    """A revision that is shown again, by an event at `offset`. erased: it is known that it was hidden; its skeleton may
    not be readable yet."""

    event: Shown
    offset: int
    erased: bool


@dataclass(slots=True, kw_only=True)
class News:
    """What was hidden, and then what was shown again, without what follows a hiding of the same page. undeleted: what
    does follow, with the event that says all of the revision.
    """

    hidings: list[Hidden] = field(default_factory=list)
    shown: dict[Place, ToShow] = field(default_factory=dict)
    undeleted: dict[Place, str] = field(default_factory=dict)

    def hide(self, event: Hidden) -> None:
        self.hidings.append(event)
        hides = [place for place in self.shown if place[:2] == (event.wiki, event.page_id)]
        for place in hides if event.rev_id is None else {*hides} & {(event.wiki, event.page_id, event.rev_id)}:
            del self.shown[place]

    def contradicts(self, event: Shown) -> bool:
        """Whether some of its page was hidden before."""
        return any((event.wiki, event.page_id) == (each.wiki, each.page_id) for each in self.hidings)

    def show(self, event: Shown, offset: int, *, erased: bool) -> None:
        if not event.own:
            self.shown[event.wiki, event.page_id, event.rev_id] = ToShow(event, offset, erased)


def hides_or_shows(payload: bytes) -> Hidden | Shown | None:
    """What an event of the log hides, or puts before readers again; None if neither."""
    return hidden_by(payload) or shown_by(payload)
