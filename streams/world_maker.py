"""What happens in the simulated world, from a random state: who edits which page when, and the rare things.

The kinds of a real day are mixed by our guess where SHARES says no source; each rare kind comes for the first time
early enough that a world of seconds has it too, and then by chance.

Source: 6-7 % of edits are vandalism (PAN 2009-10); 35 recentchanges come with 19 page_changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from random import Random

from schemas.event import RECENT_CHANGE
from streams.prose import new_page, other_page
from streams.wiki_events import TOPICS, categorize
from streams.wiki_items import new_item
from streams.wiki_names import Name, language_of, names
from streams.wiki_pages import ITEM, Page, Revision, Wiki, made_wiki
from streams.world_admin import Administration
from streams.world_edits import Edits
from streams.world_people import DAY_MS, REGULAR, People
from streams.world_scene import Deck, Scene

# Pages of all wikis together; those that nobody has edited for long are found again instead of new ones.
MAX_PAGES = 20_000
FIRST_PAGES = 4
# Of the edits, those of a page that was not edited yet: the real wikis have 60 million pages.
ELSEWHERE = 0.3
# Of the good edits, those made without a look at who is still to be undone: 5-15 % of bad edits get another's on top.
ON_TOP = 0.1
# Namespace → share of the edits outside of Wikidata; Commons edits files.
NAMESPACES = ((0, 0.68), (1, 0.08), (2, 0.05), (3, 0.07), (4, 0.02), (10, 0.04), (14, 0.06))
SELF_REVERTED_PERCENT = 2
# Rows of the recent changes that are no edits: edits put their pages into categories, one or two each.
CATEGORIZED = 0.42
# What happens → of all page changes, or for each of them; the part of a short world at which it comes first.
SHARES = {
    "create": (0.03, 0.05),
    "spam_page": (0.004, 0.2),
    "news": (0.000_02, 0.3),
    "quarrel": (0.002, 0.25),
    "move": (0.006, 0.4),
    "move_back": (0.000_5, 0.75),
    "protect": (0.001, 0.45),
    "delete_for_a_while": (0.001, 0.35),
    "hide_text": (0.001_5, 0.6),
    "hide_names": (0.000_5, 0.65),
    "suppress_text": (0.000_2, 0.7),
    "suppress_page": (0.000_1, 0.3),
    "import_page": (0.000_5, 0.5),
    "null_edit": (0.01, 0.15),
    "duplicate": (0.000_3, 0.1),
    "noise": (0.06, 0.12),
}
NOISE = (("newusers", "create"), ("abusefilter", "hit"), ("upload", "upload"), ("thanks", "thank"))


class Maker:
    """The whole world. `scene.step()` lets the next thing happen."""

    def __init__(
        self,
        random: Random,
        *,
        wikis: int,
        seconds: float,
        tail_seconds: float,
        rate: float,
        begin_ms: int,
        time_scale: float,
        vandalism_percent: int,
        canary_every_ms: int,
    ) -> None:
        """seconds: in which people edit; what they set off runs on for tail_seconds."""
        self._random = random
        self._rate = rate
        self._seconds = seconds
        last_ms = begin_ms + round(seconds * 1000)
        self.end_ms = last_ms + round(tail_seconds * 1000)
        self.scene = Scene(random, begin_ms=begin_ms, last_ms=last_ms, time_scale=time_scale)
        self._people = People(random, begin_ms)
        self._edits = Edits(self.scene, self._people)
        self._admin = Administration(self.scene, self._people, self._edits)
        good = 100 - vandalism_percent - SELF_REVERTED_PERCENT
        self._what = Deck(random, good=good, vandalism=vandalism_percent, self_reverted=SELF_REVERTED_PERCENT)
        self._pages = 0
        chosen = names(wikis)
        self._cumulated = list(accumulate(name.share for name in chosen))
        self._spaces = list(accumulate(share for _, share in NAMESPACES))
        self._settle(chosen)
        self._canaries(canary_every_ms)
        self._slot(0)
        for what, (share, part) in SHARES.items():
            every = 1 / (share * rate)
            first_ms = begin_ms + round(1000 * part * min(seconds, every))
            self.scene.at(first_ms, partial(self._rarely, what, every))

    # Before the beginning.

    def _settle(self, chosen: list[Name]) -> None:
        for n, name in enumerate(chosen):
            # Revision ids of the largest wikis do not fit into 31 bits.
            rev_id = 2**31 + 7_000 if name.wiki in {"jawiki", "wikidatawiki"} else 1_331_204_000 - 3_700_000 * n
            wiki = made_wiki(name, language_of(name.code), rev_id, 79_000_000 - 210_000 * n)
            self._people.settle(wiki)
            self.scene.wikis.append(wiki)
            for _ in range(FIRST_PAGES):
                self._old_page(wiki, namespace=0)
            # The streams name nobody who edits certain pages of ruwiki.
            wiki.pages[0].is_redacted = name.wiki == "ruwiki"

    def _old_page(self, wiki: Wiki, namespace: int | None = None) -> Page:
        """A page from long ago."""
        random = self._random
        namespace = self._namespace(wiki) if namespace is None else namespace
        wiki.titles += 1
        stem = wiki.language.places[wiki.titles % len(wiki.language.places)]
        number = f" {1 + wiki.titles // len(wiki.language.places)}" if wiki.titles > len(wiki.language.places) else ""
        title = stem + number
        if namespace:
            title = f"{wiki.language.namespaces[namespace]}:{title}"
        elif wiki.model is ITEM:
            title = f"Q{700_000 + wiki.titles}"
        page = self.scene.page(wiki, title, namespace)
        if namespace not in {0, 6}:
            text = other_page(random, wiki.language, title, namespace)
        elif wiki.model is ITEM:
            text = new_item(random, wiki.language, title)
        else:
            text = new_page(random, wiki.language, title)
        editor = wiki.editors[int(random.random() * (REGULAR + 2))]
        wiki.rev_id += 1 + int(random.random() * 5)
        at_ms = self.scene.begin_ms - (1 + int(random.random() * 300)) * DAY_MS
        comment = wiki.language.summaries["create"]
        page.remember(Revision(page, wiki.rev_id, None, at_ms, text, comment, editor.snapshot()))
        self._pages += 1
        return page

    def _namespace(self, wiki: Wiki) -> int:
        if wiki.model is ITEM:
            return 0
        if wiki.name == "commonswiki" and self._random.random() < 0.8:
            return 6
        chosen = self._random.random() * self._spaces[-1]
        return next(space for (space, _), below in zip(NAMESPACES, self._spaces, strict=True) if chosen <= below)

    def _canaries(self, every_ms: int) -> None:
        def beat() -> None:
            for topic in TOPICS:
                self.scene.canary(topic)
            if self.scene.now + every_ms <= self.end_ms:
                self.scene.at(self.scene.now + every_ms, beat)

        self.scene.at(self.scene.begin_ms, beat)

    # Edits.

    def _slot(self, number: int) -> None:
        """The time for one change more; what other things made too many is made up for here."""
        at_ms = self.scene.begin_ms + int((number + self._random.random()) * 1000 / self._rate)
        if at_ms < self.scene.last_ms:
            self.scene.at(at_ms, partial(self._change, number))

    def _change(self, number: int) -> None:
        self._slot(number + 1)
        if self.scene.changes > number:
            # A burst is not paid for by all the other pages.
            self.scene.changes = min(self.scene.changes, number + 1 + round(self._rate))
            return
        what = self._what.draw()
        if what == "good":
            made = self._edits.good(self._page(calm=self._random.random() > ON_TOP))
            self._categorize(made)
        elif what == "vandalism":
            self._edits.vandalise(self._page(calm=True))
        else:
            self._edits.try_out(self._page(calm=True))

    def _wiki(self) -> Wiki:
        chosen = self._random.random() * self._cumulated[-1]
        return self.scene.wikis[bisect_left(self._cumulated, chosen)]

    def _page(self, *, calm: bool = False) -> Page:
        """A page to edit, the ones that came first more often. calm: none where an undoing is still to come."""
        wiki, random = self._wiki(), self._random
        for _ in range(6):
            if self._pages < MAX_PAGES and random.random() < ELSEWHERE:
                break
            page = wiki.pages[int(len(wiki.pages) * random.random() ** 2)]
            if not page.is_busy and not (calm and page.open is not None):
                return page
        return self._old_page(wiki)

    def _article(self) -> Page:
        """A calm article of some age."""
        for _ in range(20):
            page = self._page(calm=True)
            if page.namespace == 0 and len(page.revisions) > 1 and not page.is_redacted:
                return page
        return page

    def _categorize(self, revision: Revision) -> None:
        page, wiki, scene = revision.page, revision.page.wiki, self.scene
        if wiki.model is ITEM or self._random.random() > CATEGORIZED * 2:
            return
        for name in wiki.language.categories[: 1 + int(self._random.random() * 2)]:
            wiki.rc_id += 1
            event = categorize(revision, wiki.rc_id, f"{wiki.language.namespaces[14]}:{name}")
            at_ms = page.announced_ms + 20 + int(self._random.random() * 300)
            scene.say(RECENT_CHANGE, at_ms, wiki, page.uri, event, scene.new_id())

    # Rare things.

    def _rarely(self, what: str, every_seconds: float) -> None:
        if self.scene.now >= self.scene.last_ms:
            return
        done = self._happen(what)
        after = self._random.expovariate(1 / every_seconds) if done else 0.5
        self.scene.at(self.scene.now + max(1, round(after * 1000)), partial(self._rarely, what, every_seconds))

    def _happen(self, what: str) -> bool:
        """False: nothing was there for it to happen to; look again later."""
        admin = self._admin
        wiki_acts: dict[str, Callable[[Wiki], bool]] = {
            "create": admin.create,
            "spam_page": admin.spam_page,
            "suppress_page": admin.suppress_page,
            "import_page": admin.import_page,
            "noise": self._noise,
        }
        page_acts: dict[str, Callable[[Page], bool]] = {
            "quarrel": self._edits.quarrel,
            "move": admin.move,
            "protect": admin.protect,
            "delete_for_a_while": admin.delete_for_a_while,
            "hide_names": admin.hide_names,
            "null_edit": admin.null_edit,
            "news": partial(admin.news, rate=self._rate),
        }
        if what in wiki_acts:
            wiki = self._wiki()
            if wiki.model is ITEM and what != "noise":
                wiki = self.scene.wikis[0]
            return wiki_acts[what](wiki)
        if what in page_acts:
            return page_acts[what](self._article())
        if what == "duplicate":
            self.scene.wants_duplicate = True
            return True
        return {"hide_text": admin.hide_text, "suppress_text": admin.suppress_text, "move_back": admin.move_back}[
            what
        ]()

    def _noise(self, wiki: Wiki) -> bool:
        """Rows of the recent changes that concern no page we follow."""
        kind, action = NOISE[int(self._random.random() * len(NOISE))]
        page = wiki.pages[0]
        user = self._people.nobody(self.scene.now).name
        self.scene.log(page, self.scene.now + 30, kind, action, {"userid": wiki.rc_id}, user=user)
        return True
