"""One pass over Parsoid's HTML: what readers see of a page.

The tree is built in C by the rules of the HTML standard and told as events; no object is made per node, nesting is
flattened at 511, so that no page takes more than linear time. The reader keeps a stack of what is open and matters:
each entry says where text goes meanwhile, and what becomes of it when the element ends.

Why this parser: on 39 pages it takes 0.20 s to tell all events, lexbor 0.24 s to build and walk its tree; on 40,000
nested elements 0.02 s, lexbor 3.4 s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from turbohtml.saxparse import SaxHandler, sax_parse

from processors.html_boxes import Box, Cell, Grid, span
from processors.html_found import BREAK, INFOBOX, HtmlFound, clean
from processors.html_marks import (
    INFOBOX_TEMPLATE,
    INVISIBLE,
    Kind,
    Kinds,
    category,
    decoded,
    formula,
    pixels,
    read_json,
    target,
    template_calls,
    title_of,
    variant_text,
    without_prefix,
)
from schemas.rendered import Area, Beyond, Rendered, ShownRedirect

PARSER = "sluice-html/1.0.0"
# Characters. The largest page of Wikipedia is about half of that as HTML.
MAX_HTML = 12_000_000
# Where the parser begins to flatten.
MAX_DEPTH = 511

_BREAKS = (
    "p div li ul ol dl dt dd br hr h1 h2 h3 h4 h5 h6 blockquote pre table tr td th caption section figure figcaption "
    "center aside address details summary"
)
BREAKS = frozenset(_BREAKS.split())
HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
FILES = re.compile(r"mw:(?:File|Image|Video|Audio)")
# Types that say nothing to us; they are most of all.
IDLE = frozenset({"mw:Entity", "mw:DisplaySpace", "mw:LocalizedAttrs", "mw:Nowiki", "mw:FallbackId"})
# Attributes that may say something of an element whose name says nothing; and its classes.
TELLING = frozenset({"typeof", "role", "style", "rel"})
# Where a table is only a means of layout, and its text is that of what is around it.
NO_TABLES = frozenset({Area.NAVIGATION, Area.NOTICE, Area.REFERENCE})
# What is made of rows and cells.
GRIDS = (Area.TABLE, Area.INFOBOX)

Attributes = dict[str, str]
Closer = Callable[[Any, list[str]], None]


def read_html(html: str) -> Rendered:
    """Read a page. Never raises; what was beyond a bound is said in the record.

    html: a whole document as `/w/rest.php/v1/revision/{id}/html` gives it.
    """
    degraded = set()
    if len(html) > MAX_HTML:
        html = html[:MAX_HTML]
        degraded.add(Beyond.SIZE)
    reader = Reader()
    sax_parse(_encodable(html), reader)
    reader.rest()
    if reader.deepest > MAX_DEPTH:
        degraded.add(Beyond.DEPTH)
    return reader.found.record(PARSER, tuple(sorted(degraded)))


def _encodable(html: str) -> str:
    try:
        # That of all encodings which takes the least time.
        html.encode("utf-16-le")
    except UnicodeEncodeError:
        return html.encode("utf-8", "replace").decode()
    return html


class Reader(SaxHandler):
    """All text goes to one tape; what is not the page's own is taken off it when its element ends.

    area: the box around. body: whether text is the page's own.
    """

    def __init__(self) -> None:
        self.found = HtmlFound()
        self.deepest = 0
        self._tape = self.found.tape
        self._write = self._tape.append
        self._depth = 0
        self._closes_at = 0
        self._open: list[tuple[int, Closer | None, Any, int, bool | None, Area, bool]] = []
        self._area = Area.TEXT
        self._body = True
        # Of what is open: the innermost table or infobox, its row, the lists of a cell, the reference, its mark.
        self._grid: Grid | None = None
        self._grid_number: int | None = None
        self._box: Box | None = None
        self._cells: list[Cell] = []
        self._items: list[str] = []
        self._item: int | None = None
        self._note: str | None = None
        self._mark: Attributes | None = None
        self._figure: int | None = None
        self._tex = ""
        self._in_formula = False
        self._made_by: dict[str, str] = {}
        self._kinds = Kinds()
        self._kind_of = self._kinds.__getitem__
        self._starts: dict[str, Callable[[Attributes], None]] = {
            "a": self._start_link,
            "link": self._start_property,
            "html": self._start_html,
            "title": self._start_title,
            "style": self._mute,
            "script": self._mute,
            "math": self._start_math,
            "img": self._start_image,
            "video": self._start_video,
            "audio": self._start_audio,
            "figcaption": self._start_caption,
            "table": self._start_table,
            "tr": self._start_row,
            "td": self._start_cell,
            "th": self._start_header,
            "caption": self._start_table_caption,
            "li": self._start_item,
        } | {name: self._start_heading(level) for name, level in HEADINGS.items()}
        self._listen()

    # Events

    def _listen(self) -> None:
        """Set what is called for each event. Closures: on a page of 5,000 elements a look-up of `self` counts."""
        depth = 0
        starts, kind_of, write, follow = self._starts, self._kind_of, self._write, self._follow
        plain = self._kinds.plain
        opened, tape, end_link, found_link = self._open, self._tape, self._end_wiki_link, self.found.link

        def start_element(tag: str, attrs: tuple[tuple[str, str | None], ...]) -> None:
            nonlocal depth
            depth += 1
            if depth > MAX_DEPTH:
                self.deepest = depth
            if tag == "a":
                # Most of a page's elements are links and nothing else.
                href = rel = None
                for name, value in attrs:
                    if name == "href":
                        href = value
                    elif name == "rel":
                        rel = value
                    elif name == "style" or (name == "typeof" and value is not None):
                        break
                else:
                    if rel == "mw:WikiLink" and href is not None and "#cite_" not in href:
                        opened.append((depth, end_link, href, len(tape), False, self._area, self._body))
                        self._closes_at = depth
                    else:
                        self._depth = depth
                        follow(href or "", rel or "")
                    return
            if tag in BREAKS:
                write(BREAK)
            start = starts.get(tag)
            if start is None:
                for name, value in attrs:
                    if name == "class":
                        if value not in plain and value and kind_of(value):
                            break
                    elif name in TELLING and value not in IDLE:
                        break
                else:
                    return
            self._depth = depth
            given: Attributes = dict(attrs)  # type: ignore[arg-type] # None: told apart where it matters
            if given:
                kind = given.get("typeof")
                if kind is not None and kind not in IDLE:
                    self._start_typed(tag, kind, given)
                classes = given.get("class")
                if (
                    (classes and classes not in plain and kind_of(classes))
                    or "role" in given
                    or "none" in (given.get("style") or "")
                    or (tag == "span" and given.get("rel") == "mw:referencedBy")
                ):
                    self._start_classed(tag, given)
            if start is not None:
                start(given)

        def end_element(tag: str) -> None:
            nonlocal depth
            while depth == self._closes_at:
                _, closer, state, start, off, self._area, self._body = opened.pop()
                self._closes_at = opened[-1][0] if opened else 0
                if closer is end_link:
                    found_link(state, start, self._area)
                elif closer is None:
                    del tape[start:]
                elif off is None:
                    closer(state, [])
                else:
                    text = tape[start:]
                    if off:
                        del tape[start:]
                    closer(state, text)
            depth -= 1
            if tag in BREAKS:
                write(BREAK)

        self.start_element = start_element  # type: ignore[method-assign]
        self.end_element = end_element  # type: ignore[method-assign]
        self.characters = write  # type: ignore[assignment]

    def rest(self) -> None:
        """Hear no more: what listens knows the reader, and only the garbage collector would part the two."""
        self._starts.clear()
        for name in ("start_element", "end_element", "_kind_of"):
            delattr(self, name)

    # What is open

    def _enter(
        self, closer: Closer | None, state: Any = None, *, off: bool | None = False, area: Area | None = None
    ) -> None:
        """When this element ends `closer` is called with `state` and the text since then.

        off: that is not the page's; None: `closer` has no use for it.
        """
        self._open.append((self._depth, closer, state, len(self._tape), off, self._area, self._body))
        self._closes_at = self._depth
        if off:
            self._body = False
        if area is not None:
            self._area = area

    def _mute(self, given: Attributes) -> None:
        self._enter(None, off=True)

    # By type: what Parsoid knows of the wikitext behind an element

    def _start_typed(self, tag: str, kind: str, given: Attributes) -> None:
        if "mw:Transclusion" in kind:
            self._template_calls(given)
            if kind == "mw:Transclusion":
                return
        if "mw:Extension/ref" in kind and "mw:Extension/references" not in kind:
            self._enter(self._end_mark, self._mark, off=True)
            self._mark = given
        elif kind == "mw:LanguageVariant" and tag != "meta":
            self._write(variant_text(given.get("data-mw-variant") or ""))
        elif FILES.search(kind):
            self._enter(self._end_figure, self._figure, off=None)
            self._figure = len(self.found.media)

    def _template_calls(self, given: Attributes) -> None:
        data_mw = given.get("data-mw")
        if data_mw is None:
            return
        doc = read_json(data_mw)
        try:
            calls = template_calls(doc)
        except (KeyError, TypeError, AttributeError):
            self.found.broken += 1
            return
        about = given.get("about", "")
        for name, parameters in calls:
            # Templates that stand side by side are one call; the one that makes boxes is the one we want to know.
            if about not in self._made_by or INFOBOX_TEMPLATE.search(name):
                self._made_by[about] = name
            self.found.template(name, parameters)

    def _end_mark(self, state: Any, text: list[str]) -> None:
        self._mark = state

    def _end_figure(self, state: Any, text: list[str]) -> None:
        self._figure = state

    # By class: which box it is

    def _start_classed(self, tag: str, given: Attributes) -> None:
        style, role = given.get("style"), given.get("role")
        kind = self._kind_of(given.get("class") or "")
        if (style is not None and INVISIBLE.search(style)) or given.get("rel") == "mw:referencedBy":
            self._mute(given)
        elif kind is Kind.NAVIGATION or role == "navigation":
            self._enter(None, off=True, area=Area.NAVIGATION)
        elif kind is Kind.NOTICE or role == "note" or given.get("id") == "coordinates":
            self._enter(None, off=True, area=Area.NOTICE)
        elif kind is Kind.PLAIN:
            return
        elif kind is Kind.CAPTION:
            self._start_caption(given)
        elif kind is Kind.FORMULA:
            self._enter(self._end_formula, off=True)
            self._tex, self._in_formula = "", True
        elif kind is Kind.CITATION:
            if self._note is not None:
                self.found.citation(self._note, given.get("title") or "")
        elif tag in {"div", "aside"} and self._box is None and self._area is Area.TEXT:
            self._start_box(given)

    def _start_box(self, given: Attributes) -> None:
        self._enter(self._end_box, (self._box, self._cells), off=True, area=Area.INFOBOX)
        self._box, self._cells = Box(template=self._made_by.get(given.get("about", ""))), []

    def _end_box(self, state: Any, text: list[str]) -> None:
        box = self._box
        self._box, self._cells = state
        if box is not None:
            box.loose(clean(text))
            self.found.infobox(box)

    def _end_formula(self, state: Any, text: list[str]) -> None:
        self._in_formula = False
        self._write(self._tex)

    def _start_math(self, given: Attributes) -> None:
        tex = formula(given.get("alttext") or "")
        if self._in_formula:
            self._tex = tex
        else:
            self._write(tex)
        self._mute(given)

    # Tables

    def _start_table(self, given: Attributes) -> None:
        if self._area in NO_TABLES or self._box is not None:
            return
        made_by = self._made_by.get(given.get("about", "")) or ""
        if self._area is Area.TEXT and (
            self._kind_of(given.get("class") or "") is Kind.INFOBOX or INFOBOX_TEMPLATE.match(made_by)
        ):
            self._start_box(given)
            return
        grid = Grid(section=len(self.found.headings), inside=self._grid_number)
        self._enter(self._end_table, (self._grid, self._grid_number, self._cells), off=True, area=Area.TABLE)
        self._grid, self._grid_number, self._cells = grid, self.found.table(grid), []

    def _end_table(self, state: Any, text: list[str]) -> None:
        self._grid, self._grid_number, self._cells = state

    def _start_table_caption(self, given: Attributes) -> None:
        if self._area in GRIDS:
            self._flush_loose()
            self._enter(self._end_table_caption, off=True)

    def _end_table_caption(self, state: Any, text: list[str]) -> None:
        if self._box is not None:
            self._box.heading(clean(text))
        elif self._grid is not None:
            self._grid.caption = clean(text) or None

    def _flush_loose(self) -> None:
        """What stood in an infobox before its table, or between two."""
        if self._box is not None and not self._cells and self._open and self._open[-1][1] == self._end_box:
            start = self._open[-1][3]
            self._box.loose(clean(self._tape[start:]))
            del self._tape[start:]

    def _start_row(self, given: Attributes) -> None:
        if self._area in GRIDS:
            self._flush_loose()
            self._enter(self._end_row, self._cells, off=None)
            self._cells = []

    def _end_row(self, state: Any, text: list[str]) -> None:
        cells, self._cells = self._cells, state
        if self._box is not None:
            self._box.add(cells)
        elif self._grid is not None:
            self._grid.add(cells)

    def _start_cell(self, given: Attributes, header: bool = False) -> None:
        if self._area in GRIDS:
            self._enter(self._end_cell, (given, header, self._items, self._item, self.found.linked), off=True)
            self._items, self._item = [], None

    def _start_header(self, given: Attributes) -> None:
        self._start_cell(given, header=True)

    def _end_cell(self, state: Any, text: list[str]) -> None:
        given, header, outer, self._item, linked = state
        items, self._items = self._items, outer
        self._cells.append(
            Cell(
                text=clean(text),
                header=header,
                columns=span(given.get("colspan")),
                rows=span(given.get("rowspan")),
                items=tuple(items),
                links=self.found.linked_since(linked) if self._box is not None else (),
            )
        )

    # Lists and references

    def _start_item(self, given: Attributes) -> None:
        if (note_id := given.get("id")) and note_id.startswith("cite_note"):
            self._enter(self._end_note, self._note, off=True, area=Area.REFERENCE)
            self._note = note_id
        elif self._area is INFOBOX:
            self._take_item()
            self._enter(self._end_item, self._item, off=None)
            self._item = len(self._tape)
        elif "gallerybox" in (given.get("class") or ""):
            self._enter(self._end_figure, self._figure, off=True)
            self._figure = len(self.found.media)

    def _end_item(self, state: Any, text: list[str]) -> None:
        self._take_item()
        # What follows a list within an item is the outer item's again.
        self._item = None if state is None else len(self._tape)

    def _take_item(self) -> None:
        """What was said in the innermost item so far: a list that begins or ends in it parts it."""
        if self._item is not None and (item := clean(self._tape[self._item :])):
            self._items.append(item)

    def _end_note(self, state: Any, text: list[str]) -> None:
        if self._note is not None:
            self.found.note(self._note, clean(text))
        self._note = state

    # Links

    def _start_link(self, given: Attributes) -> None:
        self._follow(given.get("href") or "", given.get("rel") or "")

    def _follow(self, href: str, kind: str) -> None:
        if "#cite_note" in href:
            self._refer(href)
        elif kind == "mw:WikiLink":
            if "#cite_ref" not in href:
                self._enter(self._end_wiki_link, href)
        elif kind.startswith("mw:ExtLink"):
            self._enter(self._end_external_link, href)
            if self._note is not None:
                self.found.cited_url(self._note, href)
        elif kind == "mw:WikiLink/Interwiki":
            self._enter(self._end_interwiki_link, href)
        elif kind == "mw:referencedBy":
            self._enter(None, off=True)

    def _refer(self, href: str) -> None:
        mark, self._mark = self._mark, None
        if mark is None:
            return
        note_id = decoded(href.partition("#")[2])
        if not self.found.mark(note_id):
            # Its first mark: the others say the same.
            doc = read_json(mark.get("data-mw") or "")
            named = doc.get("attrs") if doc is not None else None
            self.found.name(note_id, named if isinstance(named, dict) else {})

    def _end_wiki_link(self, state: Any, text: list[str]) -> None:
        self.found.link(state, len(self._tape) - len(text), self._area)

    def _end_external_link(self, state: Any, text: list[str]) -> None:
        self.found.external_link(state, clean(text) or None)

    def _end_interwiki_link(self, state: Any, text: list[str]) -> None:
        self.found.interwiki_link(state, clean(text) or None)

    # The page

    def _start_html(self, given: Attributes) -> None:
        _, _, number = (given.get("about") or "").rpartition("/revision/")
        self.found.rev_id = int(number) if number.isdecimal() and len(number) < 19 else None

    def _start_title(self, given: Attributes) -> None:
        self._enter(self._end_title, off=True)

    def _end_title(self, state: Any, text: list[str]) -> None:
        if self.found.title is None:
            self.found.title = clean(text) or None

    def _start_property(self, given: Attributes) -> None:
        kind, href = given.get("rel") or "", given.get("href") or ""
        if kind == "mw:PageProp/Category":
            self.found.category(*category(href))
        elif kind == "mw:PageProp/Language":
            self.found.languages.add(href, len(href))
        elif kind == "mw:PageProp/redirect":
            leads = target(href)
            self.found.redirect = ShownRedirect(title=leads.title, anchor=leads.anchor)

    def _start_heading(self, level: int) -> Callable[[Attributes], None]:
        def start(given: Attributes) -> None:
            if self._body:
                self._enter(self._end_heading, (level, given.get("id")), off=True)

        return start

    def _end_heading(self, state: Any, text: list[str]) -> None:
        self.found.heading(state[0], clean(text), state[1])

    # Media

    def _start_image(self, given: Attributes) -> None:
        self._media("image", given)

    def _start_video(self, given: Attributes) -> None:
        self._media("video", given)

    def _start_audio(self, given: Attributes) -> None:
        self._media("audio", given)

    def _media(self, kind: str, given: Attributes) -> None:
        resource = given.get("resource")
        if resource is None:
            return
        self.found.medium(
            title=without_prefix(title_of(resource)),
            kind=kind,
            width=pixels(given.get("width")),
            height=pixels(given.get("height")),
            alternative=given.get("alt") or None,
            area=self._area,
        )

    def _start_caption(self, given: Attributes) -> None:
        self._enter(self._end_caption, off=True)

    def _end_caption(self, state: Any, text: list[str]) -> None:
        since = self._figure if self._figure is not None else len(self.found.media) - 1
        self.found.caption(since, clean(text))
