"""One pass over wikitext: links, categories, files, templates, references, external links, sections and plain text.

A compiled expression finds the few marks that matter; a stack pairs them as MediaWiki's preprocessor does: braces and
double brackets match only the innermost open one, `<ref>` and `<gallery>` are walls, comments and `<nowiki>` hide what
is in them. What is left open is text. Text is gathered on the way and dropped when the template, table or reference
around it closes, so that an opening mark that never closes costs nothing and hides nothing. Where things begin
and end is seen here; what they are, `Found` tells.

Nothing is read twice: each mark is handled once, nesting is bounded by `MAX_DEPTH`, the text by `MAX_SIZE`, and the
copies of values by a budget. `mwparserfromhell` finds the same (tests/test_scan.py says where it does not).
"""

from __future__ import annotations

import re
from itertools import pairwise

from processors.found import Found, Scan
from processors.infobox import has_shape, is_infobox
from processors.links import gallery_files, is_url, link_target
from processors.namespaces import Namespaces, normal_title
from processors.plain_text import (
    BEFORE_HOLE,
    HOLE,
    MARK,
    VARIANTS,
    clean_inline,
    literal,
    without_variants,
)
from processors.sections import Heading, title_span
from processors.tables import read_table
from processors.templates import Span, parameters, split_values
from processors.tokens import (
    FREE_URL,
    SCHEME,
    SIMPLE_LINK,
    SIMPLE_TEMPLATE,
    TOKEN,
    URL_WITH_BARS,
    VISIBLE,
    WALLS,
    closing,
    is_scheme,
)
from schemas.enriched import Degraded, ExternalLink, Link, Media
from schemas.shapes import KnownBy

PARSER = "sluice-wikitext/1.0.0"
# MediaWiki's own limit of a page, there in bytes.
MAX_SIZE = 2_097_152
MAX_DEPTH = 100
# Characters kept of one parameter or reference, and how often over the text may be copied into values in all.
MAX_VALUE = 100_000
COPIES = 4
MAX_TITLE = 2_000
# Enough of a template's name to know an infobox by.
MAX_NAME = 255


def scan(text: str, namespaces: Namespaces) -> Scan:
    """Read one page. Never raises; what goes beyond a bound is named in `degraded`."""
    return _Scanner(text, namespaces).run()


class _Frame:
    """An open `{{`, `[[` or wall. count: braces left; mark: how much text was gathered before it."""

    __slots__ = ("attributes", "box", "children", "content", "count", "kind", "mark", "pieces", "pipes", "start")

    def __init__(self, kind: str, start: int, count: int, mark: int) -> None:
        self.kind = kind
        self.start = start
        self.count = count
        self.mark = mark
        self.pipes: list[int] = []
        # Of a link, and of what may be an infobox: how much text was gathered up to behind each pipe.
        self.pieces: list[int] = []
        self.box: KnownBy | None = None
        self.children: list[Span] = []
        self.content = 0  # of a wall: where its content begins
        self.attributes = ""


class _Scanner:
    """The state of one pass. `out`: pieces of plain text; `last`: where the text begins that is not in it yet."""

    def __init__(self, text: str, namespaces: Namespaces) -> None:
        self.degraded: set[Degraded] = set()
        if len(text) > MAX_SIZE:
            self.degraded.add(Degraded.SIZE)
        # A line break before the first line lets one expression find what stands at the start of any line.
        self.text = "\n" + text[:MAX_SIZE].replace(MARK, "\ufffd").replace(HOLE, "\ufffd")
        self.namespaces = namespaces
        self.has_variants = namespaces.language in VARIANTS and "-{" in text
        self.out: list[str] = []
        self.last = 1
        self.skip = 0
        self.stack: list[_Frame] = []
        self.tables: list[tuple[int, int]] = []
        self.external: tuple[int, str, int] | None = None
        self.within: list[tuple[int, str]] = []  # bare urls in its text
        self.line_break = 0
        self.headings: list[Heading] = []
        self.heading_end = len(self.text) + 1
        self.budget = COPIES * len(text) + MAX_VALUE
        self.last_close: dict[str, int] = {}
        self.found = Found(namespaces)

    def run(self) -> Scan:
        text, stack = self.text, self.stack
        handlers = {
            "[": self.open_brackets,
            "]": self.close_brackets,
            "{": self.open_braces,
            "}": self.close_braces,
            "\n": self.line,
            "<": self.tag,
            ":": self.free_url,
        }
        for match in TOKEN.finditer(text):
            start = match.start()
            if start < self.skip:
                continue
            if start >= self.heading_end:
                self.end_heading()
            kind = match.lastindex
            if kind in SIMPLE_LINK:
                self.simple_link(match, start)
            elif kind == SIMPLE_TEMPLATE:
                self.simple_template(match["inside"], start, match.end())
            elif (mark := text[start]) != "|":
                handlers[mark](match, start, match.end())
            elif stack:
                self.pipe(start, start + 1)
        if self.heading_end <= len(text):
            self.end_heading()
        self.abandon_external()
        self.flush(len(text))
        return self.found.scan(text, self.out, self.headings, self.degraded)

    def flush(self, to: int) -> None:
        if to > self.last:
            text = self.text[self.last : to]
            self.out.append(without_variants(text) if self.has_variants else text)
            self.last = to

    def drop(self, mark: int) -> None:
        """Forget the text gathered since `mark`."""
        del self.out[mark:]
        for heading in reversed(self.headings):
            if heading.mark <= mark:
                break
            heading.mark = mark

    def hole(self, start: int) -> None:
        """What begins here is no text; what stands around it may look odd then."""
        before = self.text[start - 1]
        if before in BEFORE_HOLE or (before == " " and self.text[start - 2] in BEFORE_HOLE):
            self.out.append(HOLE)

    def push(self, kind: str, start: int, count: int, opener: str) -> _Frame:
        self.flush(start)
        if len(self.stack) >= MAX_DEPTH:
            # Most often the outermost ones are those that nobody closed.
            self.degraded.add(Degraded.DEPTH)
            del self.stack[0]
        frame = _Frame(kind, start, count, len(self.out))
        self.stack.append(frame)
        if opener:
            self.out.append(opener)
        return frame

    def copy(self, start: int, end: int) -> str:
        """A value out of the text, within the budget."""
        kept = min(end - start, MAX_VALUE, max(self.budget, 0))
        if kept < end - start:
            self.degraded.add(Degraded.RAW)
        self.budget -= kept
        return self.text[start : start + kept]

    def closed(self, start: int, end: int) -> None:
        """Text[start:end] is one thing: what is open around it does not look into it."""
        if self.stack:
            self.stack[-1].children.append((start, end))
        while self.tables and self.tables[-1][0] > start:
            self.tables.pop()
        if self.external is not None and self.external[0] > start:
            self.abandon_external()

    # --- templates -------------------------------------------------------------------------------------------------

    def pipe(self, start: int, end: int) -> None:
        frame = self.stack[-1]
        if frame.kind == "{":
            if not frame.pipes and len(self.stack) == 1:
                name = self.text[frame.start + frame.count : min(start, frame.start + MAX_NAME)]
                frame.box = self.known_box(name, frame.mark)
            frame.pipes.append(start)
            if frame.box is None:
                return
        elif frame.kind == "[":
            frame.pipes.append(start)
        else:
            return
        self.flush(start)
        self.out.append("|")
        self.last = end
        frame.pieces.append(len(self.out))

    def known_box(self, name: str, mark: int) -> KnownBy | None:
        """Whether an outermost template may be an infobox: by its name, or because no text came before it.

        mark: how much text was gathered before it.
        """
        if is_infobox(name):
            return KnownBy.NAME
        if self.headings or self.found.boxes or any(piece.strip() for piece in self.out[max(mark - 20, 0) : mark]):
            return None
        return KnownBy.SHAPE

    def open_braces(self, _: object, start: int, end: int) -> None:
        # Three braces a level at most: a longer run cannot be more than its share of the depth.
        count = min(end - start, 2 * MAX_DEPTH)
        if count < end - start:
            self.degraded.add(Degraded.DEPTH)
        self.push("{", end - count, count, "{" * count)
        self.last = end

    def simple_template(self, inside: str, start: int, end: int) -> None:
        """A template with no mark within but bars."""
        self.flush(start)
        raw, bar, rest = inside.partition("|")
        positional: list[str] = []
        named: dict[str, str] = {}
        if bar:
            size = len(rest)
            longest = MAX_VALUE if self.budget >= size else max(self.budget // (rest.count("|") + 1), 0)
            positional, named, cut = split_values(rest, longest)
            self.budget -= size - cut
            if cut:
                self.degraded.add(Degraded.RAW)
        if "://" in inside:
            for url in FREE_URL.finditer(self.text, start, end - 2):
                scheme = SCHEME.search(self.text, max(url.start() - 12, start), url.start())
                if scheme is not None and is_scheme(scheme.group()):
                    self.found.url(scheme.start(), self.text[scheme.start() : url.end()])
        if not self.found.template(raw[:MAX_VALUE], start, end, positional, named):
            return  # the braces are text
        self.hole(start)
        self.last = end
        if self.stack:
            self.stack[-1].children.append((start, end))
        else:
            # One that takes its values from Wikidata may have none here.
            box = self.known_box(raw[:MAX_NAME], len(self.out))
            if box is KnownBy.NAME or (box and has_shape(positional, named, rest)):
                self.found.boxes[start] = (box, rest.split("|"))

    def close_braces(self, _: object, start: int, end: int) -> None:
        while end - start >= 2 and self.stack and self.stack[-1].kind == "{":
            frame = self.stack[-1]
            taken = 3 if min(frame.count, end - start) >= 3 else 2
            inner = frame.start + frame.count - taken
            if taken == 2:
                self.template(frame, inner, start)
            start += taken
            frame.count -= taken
            self.drop(frame.mark)
            self.hole(inner)
            self.last = start
            while self.headings and self.headings[-1].start > inner:
                self.headings.pop()
                self.heading_end = len(self.text) + 1  # of a heading that is being read: it is none
            if frame.count:
                self.out.append("{" * frame.count)
            if frame.count >= 2:
                frame.pipes, frame.children, frame.pieces, frame.box = [], [], [], None
            else:
                self.stack.pop()
            self.closed(inner, start)

    def template(self, frame: _Frame, start: int, end: int) -> None:
        text, pipes = self.text, frame.pipes
        positional: list[str] = []
        named: dict[str, str] = {}
        if pipes:
            # Nested templates are copied once per level: where that would be too much, values are shortened.
            longest = MAX_VALUE if self.budget >= end - pipes[0] else max(self.budget // len(pipes), 0)
            positional, named, cut = parameters(text, end, pipes, frame.children, longest)
            self.budget -= end - pipes[0] - cut
            if cut:
                self.degraded.add(Degraded.RAW)
        raw = text[start + 2 : min(pipes[0] if pipes else end, start + 2 + MAX_VALUE)]
        if self.found.template(raw, start, end + 2, positional, named) and frame.box is not None and named:
            self.infobox(frame, frame.box, start, end, has_shape(positional, named, text[pipes[0] : end]))

    def infobox(self, frame: _Frame, box: KnownBy, start: int, end: int, shape: bool) -> None:
        """Keep what was gathered behind each bar: the plain text of the values."""
        if shape or box is KnownBy.NAME:
            self.flush(end)
            bounds = [*frame.pieces, len(self.out) + 1]
            self.found.boxes[start] = (box, ["".join(self.out[a : b - 1]) for a, b in pairwise(bounds)])

    # --- links -----------------------------------------------------------------------------------------------------

    def open_brackets(self, match: re.Match[str], start: int, end: int) -> None:
        if self.text[start + 1] != "[":
            self.open_external(match, start)
            return
        for at in range(max(start + (end - start) % 2, end - 2 * MAX_DEPTH), end, 2):
            self.push("[", at, 2, "[[")
            self.last = at + 2

    def whole_url(self, match: re.Match[str], start: int) -> str:
        """A url from `start` on. A bar belongs to it where no template, link or table could claim it."""
        end = match.end()
        if self.text[end : end + 1] == "|" and not self.tables and (not self.stack or self.stack[-1].kind in WALLS):
            found = URL_WITH_BARS.match(self.text, end)
            end = self.skip = found.end() if found else end
        return self.text[start:end]

    def open_external(self, match: re.Match[str], start: int) -> None:
        scheme, colon, _ = match["url"].partition(":")
        if colon and not match["url"].startswith("//") and not is_scheme(scheme):
            return
        if self.external is not None:
            if self.reaches(start):
                return  # a link does not begin within another's text
            self.abandon_external()
        self.flush(start)
        url = self.whole_url(match, start + 1)
        self.external = (start, url, len(self.out))
        self.out.append("[" + url)
        self.last = start + 1 + len(url)

    def reaches(self, at: int) -> bool:
        """Whether the open external link can go on up to `at`: no line break and no outer mark parts them."""
        assert self.external is not None  # noqa: S101
        if self.line_break < self.external[0]:
            found = self.text.find("\n", self.external[0])
            self.line_break = len(self.text) if found < 0 else found
        return at < self.line_break

    def abandon_external(self) -> None:
        """Nothing closed it: a bracket, and a bare url."""
        if self.external is not None:
            start, url, _ = self.external
            self.external = None
            self.found.url(start + 1, url)
            for at, bare in self.within:
                self.found.url(at, bare)
            self.within = []

    def close_brackets(self, _: object, start: int, end: int) -> None:
        while start < end:
            top = self.stack[-1] if self.stack else None
            in_link = top is not None and top.kind == "["
            if self.external is not None and (top is None or top.start < self.external[0]):
                # `]]` behind an external link in a link's text closes the link, `]]]` closes both.
                if self.reaches(start) and not (in_link and end - start == 2):
                    self.close_external(start)
                    start += 1
                    continue
                self.abandon_external()
            if top is None or not in_link or end - start < 2:
                return
            self.close_link(top, start)
            start += 2

    def close_external(self, at: int) -> None:
        assert self.external is not None  # noqa: S101
        start, url, mark = self.external
        self.external = None
        self.within = []  # the text of a link has no links in it
        self.flush(at)
        text = clean_inline("".join(self.out[mark + 1 :])) or None
        self.drop(mark)
        self.out.append(text or "")
        self.last = at + 1
        self.found.external_links.append((start, ExternalLink(url, text)))
        self.found.parts.append((start, at + 1, "ExternalLink", url))

    def free_url(self, match: re.Match[str], start: int, _: int) -> None:
        scheme = SCHEME.search(self.text, max(start - 12, 0), start)
        if scheme is not None and is_scheme(scheme.group()):
            url = self.whole_url(match, scheme.start())
            if self.external is not None and self.reaches(start):
                self.within.append((scheme.start(), url))
            else:
                self.found.url(scheme.start(), url)

    def close_link(self, frame: _Frame, at: int) -> None:
        self.flush(at)
        self.stack.pop()
        self.last = at + 2
        begin = frame.start + 2
        target = link_target(self.text[begin : min(frame.pipes[0] if frame.pipes else at, begin + MAX_TITLE)])
        if target is None:
            self.out.append("]]")
        elif not is_url(target):  # an external link in too many brackets; its url was found on the way
            self.link(frame, target, at)
        self.closed(frame.start, at + 2)

    def simple_link(self, match: re.Match[str], start: int) -> None:
        """A link with no mark within: most of them, so this is written for speed."""
        raw, shown = match.group("target", "shown")
        end, out = match.end(), self.out
        if start > self.last:
            before = self.text[self.last : start]
            out.append(without_variants(before) if self.has_variants else before)
        self.last = end
        if self.stack:
            self.stack[-1].children.append((start, end))
        if ":" in raw or "#" in raw:
            self.simple_place(raw.strip(), shown, start, end)
            return
        plain = raw[0].isupper() and raw[-1] != " " and "_" not in raw and "  " not in raw
        title = raw if plain else normal_title(raw, self.namespaces)
        if not title:
            out.append(self.text[start:end])
            return
        if shown is not None:
            shown = clean_inline(shown) if "'" in shown or "&" in shown else " ".join(shown.split())
        out.append(raw.strip() if shown is None else shown)
        self.found.links.append((start, Link(title, 0, None, shown)))
        self.found.parts.append((start, end, "Wikilink", title))

    def simple_place(self, target: str, text: str | None, start: int, end: int) -> None:
        if is_url(target):
            self.found.url(start + 2, target.partition(" ")[0])
            return
        shown = None if text is None else clean_inline(text)
        sort_key = None if text is None else text.strip()
        stands = self.found.place(target, shown, [] if shown is None else [shown], sort_key, start, end)
        if stands is not None:
            self.out.append(stands)

    def link(self, frame: _Frame, target: str, at: int) -> None:
        """A link with other marks within."""
        out, pieces = self.out, frame.pieces
        text = clean_inline("".join(out[pieces[0] :])) if pieces else None
        bounds = [*pieces, len(out) + 1]
        parts = [] if text is None else [text]
        if len(pieces) > 1:
            parts = [clean_inline("".join(out[a : b - 1])) for a, b in pairwise(bounds)]
        sort_key = self.copy(frame.pipes[0] + 1, at).strip() if pieces else None
        self.drop(frame.mark)
        stands = self.found.place(target, text, parts, sort_key, frame.start, at + 2)
        if stands is not None:
            out.append(stands)

    # --- lines: tables and headings --------------------------------------------------------------------------------

    def line(self, match: re.Match[str], start: int, end: int) -> None:
        last = self.text[end - 1]
        if last == "=":
            self.heading(start)
        elif last == "|" and self.stack and self.stack[-1].kind == "{":
            self.pipe(end - 1, end)  # braces that open a parameter's table do not hide its bars
        elif last == "|":
            self.flush(start)
            if len(self.tables) < MAX_DEPTH:
                self.tables.append((start, len(self.out)))
        elif self.stack and (not self.tables or self.stack[-1].start > self.tables[-1][0]):
            self.pipe(end - 2, end - 1)
        elif self.tables:
            begin, mark = self.tables.pop()
            self.flush(start)
            self.found.tables.append((begin, read_table("".join(self.out[mark:]))))
            self.drop(mark)
            self.out.append("\n")
            self.last = end
            self.found.parts.append((begin + 1, end, "Table", ""))

    def heading(self, start: int) -> None:
        span = title_span(self.text, start + 1)
        if span is None:
            return
        level, title_end, line_end = span
        self.flush(start)
        self.headings.append(Heading(level=level, start=start, end=line_end, mark=len(self.out)))
        self.last = start + 1 + level
        self.heading_end = title_end

    def end_heading(self) -> None:
        """All that belongs to a heading was read: its text is its title."""
        heading = self.headings[-1]
        while self.stack and self.stack[-1].start > heading.start:
            self.stack.pop()
        if self.external is not None and self.external[0] > heading.start:
            self.abandon_external()
        self.flush(self.heading_end)
        heading.title = clean_inline("".join(self.out[heading.mark :])).strip("=").strip()
        del self.out[heading.mark :]
        self.last = max(self.last, heading.end)
        self.heading_end = len(self.text) + 1
        self.found.parts.append((heading.start + 1, heading.end, "Heading", heading.title))

    # --- tags ------------------------------------------------------------------------------------------------------

    def tag(self, match: re.Match[str], start: int, end: int) -> None:
        if match["tag"] is None:
            self.comment(start)
            return
        name = match["tag"].lower()
        attributes = match["attributes"]
        if name in WALLS:
            self.wall(name, attributes, bool(match["slash"]), start, end)
        elif not match["slash"] and not attributes.endswith("/"):
            self.opaque(name, start, end)

    def comment(self, start: int) -> None:
        self.flush(start)
        end = self.text.find("-->", start + 4)
        end = len(self.text) if end < 0 else end + 3
        self.skip = self.last = end
        if self.stack:
            self.stack[-1].children.append((start, end))
        closed = self.text.endswith("-->", start + 4, end)
        self.found.comments.append(self.copy(start + 4, end - 3 if closed else end).strip())
        self.found.parts.append((start, end, "Comment", ""))

    def opaque(self, name: str, start: int, end: int) -> None:
        if self.last_closing(name) < end:
            return
        found = closing(name).search(self.text, end)
        if found is None:
            return
        self.flush(start)
        if name in VISIBLE:
            self.out.append(literal(self.text[end : found.start()]))
        self.skip = self.last = found.end()
        if self.stack:
            self.stack[-1].children.append((start, found.end()))

    def last_closing(self, name: str) -> int:
        """Where the last closing tag of that name begins; -1 if there is none. Looked for once."""
        if name not in self.last_close:
            self.last_close[name] = max((match.start() for match in closing(name).finditer(self.text)), default=-1)
        return self.last_close[name]

    def wall(self, name: str, attributes: str, closes: bool, start: int, end: int) -> None:
        if closes:
            self.close_wall(name, start, end)
        elif attributes.endswith("/"):
            self.flush(start)
            self.last = end
            self.closed(start, end)
            if name == "ref":
                self.found.reference(start, end, attributes.rstrip("/"), None, None)
        elif self.last_closing(name) >= end and all(frame.kind != name for frame in self.stack):
            frame = self.push(name, start, 0, "")
            frame.content, frame.attributes = end, attributes

    def close_wall(self, name: str, start: int, end: int) -> None:
        depth = len(self.stack) - 1
        while depth >= 0 and self.stack[depth].kind != name:
            depth -= 1
        if depth < 0:
            return
        frame = self.stack[depth]
        del self.stack[depth:]
        if name == "ref":
            self.flush(start)
            text = clean_inline("".join(self.out[frame.mark :]))
            self.found.reference(frame.start, end, frame.attributes, self.copy(frame.content, start).strip(), text)
        elif name == "gallery":
            self.flush(start)
            self.gallery(frame, start, end)
        self.drop(frame.mark)
        self.last = end
        self.closed(frame.start, end)

    def gallery(self, frame: _Frame, end: int, tag_end: int) -> None:
        """Its files, from the text gathered since it began: what is nested in a caption is read there already."""
        at, number = frame.content, len(self.found.galleries)
        for name, title, (shown, alt) in gallery_files("".join(self.out[frame.mark :]), self.namespaces):
            at = max(self.text.find(name, at, min(at + MAX_TITLE, end)), at)
            line_end = self.text.find("\n", at, end)
            line_end = end if line_end < 0 else line_end
            self.found.media.append((at, Media(title=title, caption=shown, alt=alt, gallery=number)))
            self.found.parts.append((at, line_end, "Media", title))
            at = line_end
        self.found.gallery(frame.start, tag_end, frame.attributes)
