"""Who edits in the simulated world: administrators, patrollers, regulars, newcomers, temporary accounts and bots."""

from __future__ import annotations

from random import Random

from streams.wiki_pages import Editor, Wiki, seconds

DAY_MS = 86_400_000
SYSOP, PATROLLER, ROLLBACKER, REGULAR, OTHER, NEWCOMER, BOT, GUARD = range(8)
# Of all user names in the streams, those of IP addresses: temporary accounts have taken their place.
IP_SHARE = 0.03


class People:
    """Fills wikis with editors, and makes up those who come once."""

    def __init__(self, random: Random, begin_ms: int) -> None:
        self._random = random
        self._begin_ms = begin_ms
        self._temps = random.randint(10_000, 80_000)

    def settle(self, wiki: Wiki) -> None:
        groups: tuple[tuple[str, ...], ...] = (
            ("sysop",), ("rollbacker", "autoreviewer"), ("rollbacker",), (), (), (),
        )  # fmt: skip
        for n, (name, own) in enumerate(zip(wiki.language.users, groups, strict=True)):
            is_new = n == NEWCOMER
            count = self._random.randint(0, 5) if is_new else self._random.randint(60, 90_000)
            days = self._random.randint(0, 2) if is_new else self._random.randint(200, 6000)
            basic = ("*", "user") if is_new else ("*", "user", "autoconfirmed")
            self._person(wiki, name, (*own, *basic), count, days)
        for name in ("LedgerBot", "WatchBot"):
            self._person(wiki, name, ("bot", "*", "user", "autoconfirmed"), 412_000, 3000).is_bot = True

    def _person(self, wiki: Wiki, name: str, groups: tuple[str, ...], count: int, days: int) -> Editor:
        registered = self._begin_ms - days * DAY_MS - self._random.randint(1, DAY_MS)
        user_id = 40_000 + 17 * len(wiki.editors) + len(name)
        editor = Editor(name=name, user_id=user_id, groups=groups, registered=seconds(registered), edit_count=count)
        wiki.editors.append(editor)
        return editor

    def nobody(self, now_ms: int) -> Editor:
        """Somebody without an account: nearly always a temporary one."""
        random = self._random
        if random.random() < IP_SHARE:
            low, high = int(random.random() * 250), int(random.random() * 250)
            name = f"203.0.113.{low}" if random.random() < 0.5 else f"2001:DB8:0:0:0:0:{low:X}:{high:X}"
            return Editor(name=name, user_id=0, groups=("*",), registered="", edit_count=0)
        self._temps += 1 + int(random.random() * 40)
        return Editor(
            name=f"~2026-{self._temps}",
            user_id=900_000 + self._temps,
            groups=("*", "temp"),
            registered=seconds(now_ms),
            edit_count=0,
            is_temp=True,
        )

    def good(self, wiki: Wiki, now_ms: int) -> Editor:
        random = self._random
        chosen = random.random()
        if chosen < wiki.bot_share:
            return wiki.editors[BOT]
        if chosen > 0.9:
            return self.nobody(now_ms)
        return wiki.editors[int(random.random() * (NEWCOMER + 1))]
