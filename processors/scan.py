"""One pass over wikitext: links, categories, files, templates, references, external links, sections and plain text.

A compiled expression finds the few marks that matter; a stack pairs them as MediaWiki's preprocessor does: braces and
double brackets match only the innermost open one, `<ref>` and `<gallery>` are walls, comments and `<nowiki>` hide what
is in them. What is left open is text. Text is gathered on the way and dropped when the template, table or reference
around it closes, so that an opening mark that never closes costs nothing and hides nothing.

Nothing is read twice: each mark is handled once, nesting is bounded by `MAX_DEPTH`, the text by `MAX_SIZE`, and the
copies of values by a budget. `mwparserfromhell` finds the same (tests/test_scan.py says where it does not).
"""

from __future__ import annotations

import re

from processors.found import Found, Scan, in_order, nest
from processors.links import bare_url, caption, gallery_files, is_url, link_target
from processors.namespaces import LANGUAGES, Namespaces, normal_title, split_prefix
from processors.plain_text import clean_inline, literal
from processors.sections import Heading, lay_out, redirect_target, title_span
from processors.templates import Span, parameters, template_name
from processors.tokens import (
    ATTRIBUTE,
    SCHEME,
    SHOWN,
    TOKEN,
    URL_WITH_BARS,
    WALLS,
    closing,
    is_scheme,
)
from schemas.enriched import Category, Degraded, ExternalLink, Link, Media, Reference

PARSER = "sluice-wikitext/1.0.0"
# MediaWiki's own limit of a page, there in bytes.
MAX_SIZE = 2_097_152
MAX_DEPTH = 100
# Characters kept of one parameter or reference, and how often over the text may be copied into values in all.
MAX_VALUE = 100_000
COPIES = 4
MAX_TITLE = 2_000


def scan(text: str, namespaces: Namespaces) -> Scan:
    """Read one page. Never raises; what goes beyond a bound is named in `degraded`."""
    return _Scanner(text, namespaces).run()


class _Frame:
    """An open `{{`, `[[` or wall. count: braces left; mark: how much text was gathered before it."""

    __slots__ = ("attributes", "children", "content", "count", "kind", "mark", "pieces", "pipes", "start")

    def __init__(self, kind: str, start: int, count: int, mark: int) -> None:
        self.kind = kind
        self.start = start
        self.count = count
        self.mark = mark
        self.pipes: list[int] = []
        self.pieces: list[int] = []  # of a link: how much text was gathered up to behind each pipe
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
        self.text = "\n" + text[:MAX_SIZE]
        self.namespaces = namespaces
        self.out: list[str] = []
        self.last = 1
        self.skip = 0
        self.stack: list[_Frame] = []
        self.tables: list[tuple[int, int]] = []
        self.external: tuple[int, str, int] | None = None
        self.line_break = 0
        self.headings: list[Heading] = []
        self.heading_end = len(self.text) + 1
        self.budget = COPIES * len(text) + MAX_VALUE
        self.last_close: dict[str, int] = {}
        self.found = Found()

    def run(self) -> Scan:
        text = self.text
        handlers = {
            "|": self.pipe,
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
            if start >= self.skip:
                if start >= self.heading_end:
                    self.end_heading()
                handlers[text[start]](match, start, match.end())
        if self.heading_end <= len(text):
            self.end_heading()
        self.abandon_external()
        self.flush(len(text))
        return self.result()

    def flush(self, to: int) -> None:
        if to > self.last:
            self.out.append(self.text[self.last : to])
            self.last = to

    def drop(self, mark: int) -> None:
        """Forget the text gathered since `mark`."""
        del self.out[mark:]
        for heading in reversed(self.headings):
            if heading.mark <= mark:
                break
            heading.mark = mark

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

    def pipe(self, _: object, start: int, end: int) -> None:
        if not self.stack:
            return
        frame = self.stack[-1]
        if frame.kind == "{":
            frame.pipes.append(start)
        elif frame.kind == "[":
            self.flush(start)
            self.out.append("|")
            self.last = end
            frame.pipes.append(start)
            frame.pieces.append(len(self.out))

    def open_braces(self, _: object, start: int, end: int) -> None:
        # Three braces a level at most: a longer run cannot be more than its share of the depth.
        count = min(end - start, 2 * MAX_DEPTH)
        if count < end - start:
            self.degraded.add(Degraded.DEPTH)
        self.push("{", end - count, count, "{" * count)
        self.last = end

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
            self.last = start
            while self.headings and self.headings[-1].start > inner:
                self.headings.pop()
            if frame.count:
                self.out.append("{" * frame.count)
            if frame.count >= 2:
                frame.pipes, frame.children = [], []
            else:
                self.stack.pop()
            self.closed(inner, start)

    def template(self, frame: _Frame, start: int, end: int) -> None:
        text, pipes = self.text, frame.pipes
        named_by = template_name(
            text[start + 2 : min(pipes[0] if pipes else end, start + 2 + MAX_VALUE)], self.namespaces
        )
        if named_by is None:
            return
        name, first = named_by
        positional: list[str] = [] if first is None else [first]
        named: dict[str, str] = {}
        if pipes:
            # Nested templates are copied once per level: where that would be too much, values are shortened.
            longest = MAX_VALUE if self.budget >= end - pipes[0] else max(self.budget // len(pipes), 0)
            values, named, cut = parameters(text, end, pipes, frame.children, longest)
            positional += values
            self.budget -= end - pipes[0] - cut
            if cut:
                self.degraded.add(Degraded.RAW)
        self.found.templates.append((start, end + 2, name, tuple(positional), named))
        self.found.parts.append((start, end + 2, "Template", name))

    # --- links -----------------------------------------------------------------------------------------------------

    def open_brackets(self, match: re.Match[str], start: int, end: int) -> None:
        if self.text[start + 1] != "[":
            self.open_external(match, start)
            return
        if match["target"] is not None:
            self.simple_link(match["target"], match["text"], start, end)
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
            self.add_url(start + 1, url)

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
        self.flush(at)
        text = clean_inline("".join(self.out[mark + 1 :])) or None
        self.drop(mark)
        self.out.append(text or "")
        self.last = at + 1
        self.found.external_links.append((start, ExternalLink(url=url, text=text)))
        self.found.parts.append((start, at + 1, "ExternalLink", url))

    def free_url(self, match: re.Match[str], start: int, _: int) -> None:
        scheme = SCHEME.search(self.text, max(start - 12, 0), start)
        if scheme is not None and is_scheme(scheme.group()):
            self.add_url(scheme.start(), self.whole_url(match, scheme.start()))

    def add_url(self, start: int, text: str) -> None:
        url = bare_url(text)
        if url is not None:
            self.found.external_links.append((start, ExternalLink(url=url)))
            self.found.parts.append((start, start + len(url), "ExternalLink", url))

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

    def simple_link(self, raw: str, text: str | None, start: int, end: int) -> None:
        self.flush(start)
        self.last = end
        target = raw.strip()
        if not target:
            self.out.append(self.text[start:end])
        elif not is_url(target):
            shown = None if text is None else clean_inline(text)
            sort_key = None if text is None else text.strip()
            self.place_link(target, shown, shown or "", sort_key, start, end)
        else:
            self.add_url(start + 2, target.partition(" ")[0])
        if self.stack:
            self.stack[-1].children.append((start, end))

    def link(self, frame: _Frame, target: str, at: int) -> None:
        """A link with other marks within."""
        pieces = frame.pieces
        text = clean_inline("".join(self.out[pieces[0] :])) if pieces else None
        last = clean_inline("".join(self.out[pieces[-1] :])) if len(pieces) > 1 else text or ""
        sort_key = self.copy(frame.pipes[0] + 1, at).strip() if pieces else None
        self.drop(frame.mark)
        self.place_link(target, text, last, sort_key, frame.start, at + 2)

    def place_link(self, target: str, text: str | None, last: str, sort_key: str | None, start: int, end: int) -> None:
        """What a link is by its prefix. text: shown; last: plain text of its last part."""
        title, hash_mark, anchor = target.partition("#")
        namespaces, found = self.namespaces, self.found
        prefix, rest = split_prefix(title) if ":" in title else ("", title)
        if rest and prefix in namespaces.category:
            title = normal_title(rest, namespaces)
            found.categories.append((start, Category(title=title, sort_key=sort_key)))
            found.parts.append((start, end, "Category", title))
        elif rest and prefix in namespaces.file:
            title = normal_title(rest, namespaces)
            found.media.append((start, Media(title=title, caption=caption(last))))
            found.parts.append((start, end, "Media", title))
        else:
            if prefix in LANGUAGES and namespaces.language_links:
                title = f"{prefix}:{normal_title(rest, namespaces)}"  # shown beside the page, not in it
            else:
                self.out.append(target.lstrip(":") if text is None else text)
                title = normal_title(title.lstrip(": "), namespaces)
            found.links.append((start, Link(title=title, anchor=anchor.strip() if hash_mark else None, text=text)))
            found.parts.append((start, end, "Wikilink", title))

    # --- lines: tables and headings --------------------------------------------------------------------------------

    def line(self, match: re.Match[str], start: int, end: int) -> None:
        last = self.text[end - 1]
        if last == "=":
            self.heading(start)
        elif last == "|" and self.stack and self.stack[-1].kind == "{":
            self.pipe(match, end - 1, end)  # braces that open a parameter's table do not hide its bars
        elif last == "|":
            self.flush(start)
            if len(self.tables) < MAX_DEPTH:
                self.tables.append((start, len(self.out)))
        elif self.stack and (not self.tables or self.stack[-1].start > self.tables[-1][0]):
            self.pipe(match, end - 2, end - 1)
        elif self.tables:
            begin, mark = self.tables.pop()
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
        self.found.parts.append((start, end, "Comment", ""))

    def opaque(self, name: str, start: int, end: int) -> None:
        if self.last_closing(name) < end:
            return
        found = closing(name).search(self.text, end)
        if found is None:
            return
        self.flush(start)
        if name in SHOWN:
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
                self.reference(start, end, attributes.rstrip("/"), None)
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
        self.drop(frame.mark)
        self.last = end
        self.closed(frame.start, end)
        if name == "ref":
            self.reference(frame.start, end, frame.attributes, self.copy(frame.content, start).strip())
        elif name == "gallery":
            self.gallery(frame, start, end)

    def reference(self, start: int, end: int, attributes: str, content: str | None) -> None:
        values = {match[1].lower(): match[2] or match[3] or match[4] for match in ATTRIBUTE.finditer(attributes)}
        name, group = ((values.get(key) or "").strip() or None for key in ("name", "group"))
        self.found.references.append((start, Reference(name=name, group=group, content=content)))
        self.found.parts.append((start, end, "Reference", name or ""))

    def gallery(self, frame: _Frame, end: int, tag_end: int) -> None:
        at = frame.content
        for line, line_end, title, shown in gallery_files(self.text[at:end], self.namespaces):
            self.found.media.append((at + line, Media(title=title, caption=shown)))
            self.found.parts.append((at + line, at + line_end, "Media", title))
        self.found.parts.append((frame.start, tag_end, "Gallery", ""))

    # --- the whole -------------------------------------------------------------------------------------------------

    def result(self) -> Scan:
        found = self.found
        plain_text, sections = lay_out(self.out, self.headings)
        return Scan(
            links=in_order(found.links),
            categories=in_order(found.categories),
            media=in_order(found.media),
            templates=nest(found.templates),
            references=in_order(found.references),
            external_links=in_order(found.external_links),
            sections=sections,
            redirect=redirect_target(self.text, self.namespaces),
            plain_text=plain_text,
            parts=tuple(found.parts),
            degraded=tuple(sorted(self.degraded)),
        )
