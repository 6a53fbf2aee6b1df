"""Edits of the simulated world: good ones, ten kinds of vandalism, and every way in which they are undone."""

from __future__ import annotations

from functools import partial

from schemas.event import TAGS_CHANGE
from streams import wiki_events as write
from streams.prose import GOOD, VANDALISM, Change, Text
from streams.wiki_curve import ANONYMOUS_SHARE, CURVES
from streams.wiki_events import RISK
from streams.wiki_items import edited, spoiled
from streams.wiki_pages import ITEM, Editor, Page, Revision
from streams.world_people import BOT, GUARD, NEWCOMER, PATROLLER, REGULAR, ROLLBACKER, SYSOP, People
from streams.world_scene import Deck, Scene

# Of the undone bad edits, those whose undoing is undone: 12 % on 12 wikis in 2022.
AGAIN = 0.12
AGAIN_AND_AGAIN = 0.4
MAX_ROUNDS = 4
# Of vandals, those who go on with the same page; of the reverting edits, 16-29 % take several.
GOES_ON = 0.2
# Scores come for 98.5 % of the articles' edits, some 5 s after the edit; how good they are is our guess.
SCORED, SCORED_AFTER = 0.985, (5.0, 0.5)
RISK_MISSES, RISK_FALSE_ALARMS = 0.15, 0.03
# The fastest of those who undo are bots, within a minute.
BOT_SECONDS, BOT_SHARE = 60, 0.25


class Edits:
    def __init__(self, scene: Scene, people: People) -> None:
        self._scene = scene
        self._random = scene.random
        self._people = people
        deck = partial(Deck, scene.random)
        self._damage = deck(**dict.fromkeys(VANDALISM, 1))
        self._care = deck(sentence=5, reference=3, number=3, link=3, section=1)
        self._how = deck(rollback=8, undo=5, manual=4, repair=1, never=2)
        self._self_how = deck(undo=1, manual=1)
        self._spoiled = deck(repair=1, never=1)
        self._reverted_tag = deck(sent=9, lost=1)
        self._block = deck(yes=1, no=3)
        self._patrol = deck(yes=1, no=4)
        self._review = deck(approve=8, unapprove=1, no=21)

    # Good ones.

    def good(self, page: Page, editor: Editor | None = None) -> Revision:
        wiki, kind = page.wiki, self._care.draw()
        editor = editor or self._people.good(wiki, self._scene.now)
        text = self.changed(page, GOOD[kind])
        summary = wiki.language.summaries[kind]
        made = self._scene.save(page, text, editor, summary, "good", is_minor=kind in {"number", "link"})
        self.seen(made, is_bad=False)
        return made

    def try_out(self, page: Page) -> None:
        """An edit that its own author takes back."""
        scene, random = self._scene, self._random
        nobody = random.random() < 0.5
        editor = self._people.nobody(scene.now) if nobody else page.wiki.editors[REGULAR + int(random.random() * 3)]
        at = scene.now + scene.scaled_ms(30 + random.random() * 500)
        is_time = at < scene.last_ms
        made = scene.save(
            page, self.changed(page, GOOD["sentence"]), editor, "", "self_reverted" if is_time else "good"
        )
        self.seen(made, is_bad=False)
        if is_time:
            page.open, page.is_busy = made, True
            scene.at(at, lambda: self._take_back(made, editor))

    def _take_back(self, own: Revision, editor: Editor) -> None:
        how, page = self._self_how.draw(), own.page
        page.open, page.is_busy = None, False
        before = own.parent.text if own.parent is not None else ("",)
        summary = page.wiki.language.summaries["manual"]
        self._scene.save(page, before, editor, summary, "undo", how=f"self {how}", undoes=[own], method=how)
        self._tag_later([own])

    # Bad ones.

    def vandalise(self, page: Page) -> None:
        nobody = self._random.random() < ANONYMOUS_SHARE
        editor = self._people.nobody(self._scene.now) if nobody else page.wiki.editors[NEWCOMER]
        first = self._damaged(page, editor)
        if first.parent is None:
            return
        if self._random.random() < GOES_ON:
            for n in range(1 + int(self._random.random() * 2)):
                self._scene.after(5 + n * 40 + self._random.random() * 40, lambda: self._go_on(first, editor))
        self._undo_later(first, editor, 0)

    def _damaged(self, page: Page, editor: Editor) -> Revision:
        kind = self._damage.draw()
        text = self.changed(page, VANDALISM[kind])
        made = self._scene.save(page, text, editor, "", "vandalism", how=kind)
        self.seen(made, is_bad=True)
        return made

    def _go_on(self, first: Revision, editor: Editor) -> None:
        page = first.page
        if page.open is first and not page.is_deleted and page.tip.user == editor.name:
            self._damaged(page, editor)

    def _undo_later(self, first: Revision, editor: Editor, rounds: int) -> None:
        how = self._how.draw()
        if how == "never":
            return
        first.page.open = first
        seconds = CURVES["anonymous" if editor.is_anonymous else "registered"].draw(self._random)
        by_bot = seconds < BOT_SECONDS and how != "repair" and self._random.random() < BOT_SHARE
        self._scene.after(seconds, lambda: self._undo(first, editor, "bot" if by_bot else how, rounds))

    def _undo(self, first: Revision, vandal: Editor, how: str, rounds: int) -> None:
        """Give the page the text from before `first` back, if nothing but its author's edits stands on it."""
        page = first.page
        if page.open is not first:
            return
        page.open = None
        run = _run(first)
        if page.is_deleted or first.parent is None:
            return
        if not run:
            if self._spoiled.draw() == "repair":
                self._repair(first)
        elif how == "repair":
            self._repair(first)
        else:
            self._undo_exactly(run, first.parent, vandal, how, rounds)

    def _undo_exactly(self, run: list[Revision], before: Revision, vandal: Editor, how: str, rounds: int) -> None:
        scene, page, name = self._scene, before.page, vandal.name
        summaries = page.wiki.language.summaries
        method = "rollback" if how == "bot" else how
        comment = summaries[method] if method == "manual" else summaries[method] % (name, name)
        undoing = scene.save(
            page, before.text, self._undoer(page, how, name), comment, "undo", how=how, undoes=run, method=method
        )
        scene.undone.append(run[0])
        self._tag_later(run)
        if self._block.draw() == "yes":
            scene.after(30 + self._random.random() * 300, lambda: self._block_user(page, name))
        again = AGAIN if not rounds else AGAIN_AND_AGAIN
        if how != "bot" and rounds < MAX_ROUNDS and self._random.random() < again:
            scene.after(60 + self._random.random() * 600, lambda: self._restore(undoing, run[-1], vandal, rounds + 1))

    def _undoer(self, page: Page, how: str, vandal: str) -> Editor:
        editors = page.wiki.editors
        if how == "bot":
            return editors[GUARD]
        able = (SYSOP, PATROLLER, ROLLBACKER) if how == "rollback" else (SYSOP, PATROLLER, ROLLBACKER, REGULAR)
        chosen = editors[able[int(self._random.random() * len(able))]]
        return chosen if chosen.name != vandal else editors[SYSOP]

    def _restore(self, undoing: Revision, bad: Revision, vandal: Editor, rounds: int) -> None:
        """The vandal undoes the undoing."""
        page = undoing.page
        if page.is_deleted or page.is_busy or page.tip is not undoing:
            return
        comment = page.wiki.language.summaries["undo"] % (undoing.user, undoing.user)
        again = self._scene.save(
            page, bad.text, vandal, comment, "vandalism", how="restore", undoes=[undoing], method="undo"
        )
        self.seen(again, is_bad=True)
        self._tag_later([undoing])
        self._undo_later(again, vandal, rounds)

    def _repair(self, bad: Revision) -> None:
        """What is bad goes, and what others made of the page since then with it, or something of it stays."""
        page, parent = bad.page, bad.parent
        if parent is None:
            return
        editor = page.wiki.editors[int(self._random.random() * BOT)]
        text = self.changed(page, GOOD["sentence"], parent.text)
        summary = page.wiki.language.summaries["repair"]
        made = self._scene.save(page, text, editor, summary, "repair", how="partial", undoes=[bad])
        self.seen(made, is_bad=False)

    def quarrel(self, page: Page) -> bool:
        """Two regulars undo each other; neither is a vandal."""
        one, other = page.wiki.editors[REGULAR], page.wiki.editors[ROLLBACKER]
        page.is_busy = True
        self._answer_back(self.good(page, one), one, other, 1 + int(self._random.random() * MAX_ROUNDS))
        return True

    def _answer_back(self, last: Revision, by: Editor, other: Editor, rounds: int) -> None:
        def undo() -> None:
            page = last.page
            if page.is_deleted or last.parent is None or page.tip is not last:
                page.is_busy = False
                return
            comment = page.wiki.language.summaries["undo"] % (by.name, by.name)
            undoing = self._scene.save(
                page, last.parent.text, other, comment, "undo", how="undo", undoes=[last], method="undo"
            )
            self._tag_later([last])
            if rounds > 1:
                self._answer_back(undoing, other, by, rounds - 1)
            else:
                page.is_busy = False

        self._scene.after(60 + self._random.random() * 900, undo)

    # What follows from an edit.

    def seen(self, revision: Revision, *, is_bad: bool) -> None:
        """The models score it; somebody patrols or reviews it."""
        page, scene, random = revision.page, self._scene, self._random
        wiki = page.wiki
        scored = wiki.has_risk and page.namespace == 0 and not page.is_redirect and random.random() < SCORED
        if scored:
            median, sigma = SCORED_AFTER
            late = scene.scaled_ms(median * random.lognormvariate(0, sigma))
            scene.at(page.announced_ms + late, lambda: self._score(revision, is_bad))
        if (wiki.has_patrol or not revision.parent_id) and self._patrol.draw() == "yes":
            scene.at(
                page.announced_ms + scene.scaled_ms(60 + random.random() * 3000), lambda: self._patrolled(revision)
            )
        if wiki.is_flagged and page.namespace == 0:
            action = self._review.draw()
            if action != "no":
                seconds = 600 * random.lognormvariate(0, 1.5)
                scene.at(page.announced_ms + scene.scaled_ms(seconds), lambda: self._reviewed(revision, action))

    def _score(self, revision: Revision, is_bad: bool) -> None:
        random, page = self._random, revision.page
        seems_bad = is_bad if random.random() >= (RISK_MISSES if is_bad else RISK_FALSE_ALARMS) else not is_bad
        drawn = random.betavariate(6, 1.5) if seems_bad else random.betavariate(1.3, 7)
        probability = round(drawn, 9)
        scene = self._scene
        scene.did(page, "score", revision, how=f"{probability}", user=None)
        kind = "edit" if revision.parent_id else "create"
        event = write.risk(kind, revision, probability)
        scene.say(RISK, scene.now + 10, page.wiki, page.uri, event, scene.new_id())

    def _patrolled(self, revision: Revision) -> None:
        page, scene = revision.page, self._scene
        if page.is_deleted:
            return
        user = page.wiki.editors[PATROLLER].name
        scene.did(page, "patrol", revision, user=user)
        params = {"curid": str(revision.rev_id), "previd": str(revision.parent_id), "auto": 0}
        scene.log(page, scene.now + 20, "patrol", "patrol", params, user=user)

    def _reviewed(self, revision: Revision, action: str) -> None:
        page, scene = revision.page, self._scene
        if page.is_deleted or page.tip is not revision:
            return
        user = page.wiki.editors[PATROLLER].name
        if action == "approve" and not revision.parent_id:
            action = "approve-i"
        scene.did(page, "review", revision, how=action, user=user)
        stable = revision.parent_id
        scene.log(page, scene.now + 20, "review", action, [revision.rev_id, stable, revision.at_ms // 1000], user=user)

    def _tag_later(self, reverted: list[Revision]) -> None:
        """`mw-reverted` comes by a job, and now and then never."""
        page, scene = reverted[0].page, self._scene
        if self._reverted_tag.draw() == "sent":
            at = page.announced_ms + max(20, scene.scaled_ms(1 + self._random.random() * 12))
            scene.at(at, lambda: self._tag_reverted(reverted))

    def _tag_reverted(self, reverted: list[Revision]) -> None:
        scene = self._scene
        for bad in reverted:
            if not bad.page.is_deleted and "mw-reverted" not in bad.tags:
                before = list(bad.tags)
                bad.tags.append("mw-reverted")
                event = write.tags_change(bad, bad.tags, before)
                scene.say(TAGS_CHANGE, scene.now, bad.page.wiki, bad.page.uri, event, scene.new_id())

    def _block_user(self, page: Page, name: str) -> None:
        wiki, scene = page.wiki, self._scene
        sysop, reason = wiki.editors[SYSOP].name, wiki.language.summaries["block"]
        scene.did(page, "block", how=name, user=sysop)
        params = {"duration": "31 hours", "flags": "nocreate", "sitewide": True}
        title = f"{wiki.language.namespaces[2]}:{name}"
        scene.log(page, scene.now + 20, "block", "block", params, user=sysop, comment=reason, title=title)

    def changed(self, page: Page, change: Change, text: Text | None = None) -> Text:
        """A text that the page never had before."""
        before = [revision.text for revision in page.revisions]
        base = page.tip.text if text is None else text
        language = page.wiki.language
        more = GOOD["sentence"]
        if page.tip.model is ITEM:
            change, more = (edited if change in GOOD.values() else spoiled), edited
        made = change(base, self._random, language, page.title)
        while made in before:
            # Where the change finds nothing to change, a sentence more always can.
            made = more(made, self._random, language, page.title)
        return made


def _run(first: Revision) -> list[Revision]:
    """The page's last revisions from `first` on, if all are by its author; else none."""
    found: list[Revision] = []
    revision: Revision | None = first.page.tip
    while revision is not None and revision.user == first.user:
        found.append(revision)
        if revision is first:
            return found[::-1]
        revision = revision.parent
    return []
