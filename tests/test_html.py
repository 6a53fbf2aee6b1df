"""What readers see of a page, read from the HTML of the wiki's own parser."""

from __future__ import annotations

import gc
import re
import time
import weakref
from collections import Counter
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_enrich import SCHEMA as RECORD
from test_enrich import closed
from test_enrich_step import content

from processors.enrich import enrich
from processors.html import MAX_DEPTH, MAX_HTML, Reader, read_html
from processors.namespaces import namespaces_of
from processors.scan import scan
from schemas.content import Html
from schemas.enriched import ContentAbsent, decode_enriched, encode_enriched
from schemas.reasons import Answer
from schemas.rendered import Area, Beyond, Rendered, ShownCategory, ShownRedirect

SCHEMA = jsonschema_rs.validator_for(closed(RECORD))
PAGES = Path(__file__).parents[2] / "shared" / "data" / "pages"


def page(body: str, head: str = "") -> Rendered:
    about = 'about="https://en.wikipedia.org/wiki/Special:Redirect/revision/42"'
    return read_html(
        f"<!DOCTYPE html><html {about}><head><title>Loch Ness</title>{head}</head><body>{body}</body></html>"
    )


def infobox(rows: str) -> Rendered:
    return page(f'<table class="infobox vcard"><tbody>{rows}</tbody></table><p>Text.</p>')


def transclusion(*parts: str) -> str:
    """The attributes of an element that templates made. parts: names."""
    calls = [
        {"template": {"target": {"wt": n, "href": f"./Template:{n}"}, "params": {"1": {"wt": "x"}}}} for n in parts
    ]
    return f"about='#mwt1' typeof='mw:Transclusion' data-mw='{orjson.dumps({'parts': calls}).decode()}'"


MARK = (
    '<sup about="#mwt3" class="mw-ref reference" id="cite_ref-Doe_1-0" rel="dc:references" typeof="mw:Extension/ref" '
    """data-mw='{"name":"ref","attrs":{"name":"Doe","group":"n"}}'>"""
    '<a href="./Loch_Ness#cite_note-Doe-1"><span class="mw-reflink-text">[3]</span></a></sup>'
)
NOTES = (
    '<ol class="mw-references references"><li about="#cite_note-Doe-1" id="cite_note-Doe-1">'
    '<a href="./Loch_Ness#cite_ref-Doe_1-0" rel="mw:referencedBy"><span class="mw-linkback-text">↑ </span></a> '
    '<span id="mw-reference-text-cite_note-Doe-1" class="mw-reference-text">Doe, <i>Lakes</i>. '
    '<a rel="mw:ExtLink nofollow" href="https://example.org/doe" class="external text">Online</a>'
    '<span class="Z3988" title="ctx_ver=Z39.88-2004&amp;rft.jtitle=Nature%20%26+Man&amp;rft.date=1953"></span>'
    "</span></li></ol>"
)


# What the closest peer gets wrong


def test_references_are_listed_with_name_group_text_urls_and_the_fields_of_their_citation() -> None:
    (note,) = page(f"<p>A{MARK} B{MARK}</p>{NOTES}").references
    assert (note.id, note.name, note.group, note.marks) == ("cite_note-Doe-1", "Doe", "n", 2)
    assert (note.text, note.urls) == ("Doe, Lakes. Online", ("https://example.org/doe",))
    assert note.citation == {"jtitle": "Nature & Man", "date": "1953"}


def test_a_table_is_a_grid_and_a_cell_that_spans_is_in_each_of_its_places() -> None:
    found = page(
        "<h2>Depths</h2><table class='wikitable'><caption>By year</caption><tbody>"
        "<tr><th>Year</th><th colspan='2'>Depth</th></tr>"
        "<tr><td rowspan='2'>1953</td><td>230</td><td>m</td></tr><tr><td>755</td><td>ft</td></tr></tbody></table>"
    )
    (table,) = found.tables
    assert (table.caption, found.sections[table.section].title) == ("By year", "Depths")
    assert table.headers == (("Year", "Depth", "Depth"),)
    assert table.rows == (("1953", "230", "m"), ("1953", "755", "ft"))


def test_a_picture_has_its_own_height_and_its_caption() -> None:
    (medium,) = page(
        '<figure typeof="mw:File/Thumb"><a href="./File:A_b.jpg"><img resource="./File:A_b.jpg" alt="Lake" '
        'height="252" width="220"/></a><figcaption>The <b>lake</b></figcaption></figure>'
    ).media
    assert (medium.title, medium.kind, medium.width, medium.height) == ("A b.jpg", "image", 220, 252)
    assert (medium.alternative, medium.caption) == ("Lake", "The lake")


def test_each_picture_of_a_gallery_has_its_own_caption() -> None:
    box = (
        '<li class="gallerybox"><div class="thumb"><span typeof="mw:File"><img resource="./File:{0}.jpg"/></span></div>'
        '<div class="gallerytext">Of {0}</div></li>'
    )
    found = page(f'<p>A</p><ul class="gallery">{box.format("One")}{box.format("Two")}</ul><p>B</p>')
    assert [(m.title, m.caption) for m in found.media] == [("One.jpg", "Of One"), ("Two.jpg", "Of Two")]
    assert found.plain_text == "A\nB"


def test_marks_and_back_links_of_references_are_no_links_and_no_text() -> None:
    found = page(f"<p>Deep{MARK}.</p>{NOTES}")
    assert found.links == ()
    assert found.plain_text == "Deep."


def test_back_links_of_a_note_that_is_cited_several_times_are_not_its_text() -> None:
    back = '<a href="./A#cite_ref-x_1-{0}"><span class="mw-linkback-text">{0} </span></a>'
    start = '<ol class="mw-references"><li id="cite_note-x-1">'
    end = '<span class="mw-reference-text">Doe, Lakes.</span></li></ol>'
    for both in (
        f'<span rel="mw:referencedBy" id="mwA">{back.format(1)}{back.format(2)}</span> ',
        '<span class="mw-cite-backlink"><b>^</b> <sup>a</sup> <sup>b</sup></span> ',
    ):
        (note,) = page(f"<p>x</p>{start}{both}{end}").references
        assert note.text == "Doe, Lakes."


def test_a_red_link_has_the_title_it_leads_to_and_says_that_it_is_red() -> None:
    red, blue = page(
        '<p><a rel="mw:WikiLink" href="./Töre_(law)?action=edit&amp;redlink=1" class="new">Töre</a> '
        '<a rel="mw:WikiLink" href="./AC%2FDC#Early_years">early</a></p>'
    ).links
    assert (red.title, red.exists, red.text) == ("Töre (law)", False, "Töre")
    assert (blue.title, blue.anchor, blue.exists, blue.text) == ("AC/DC", "Early_years", True, "early")


def test_a_row_of_an_infobox_is_label_and_value_and_headings_are_neither() -> None:
    (box,) = infobox(
        "<tr><th colspan='2'>Loch Ness</th></tr><tr><th colspan='2'>Size</th></tr>"
        "<tr><th>Depth</th><td><a rel='mw:WikiLink' href='./Metre'>230 m</a></td></tr>"
        "<tr><td>Area</td><td>56 km²</td></tr>"
    ).infoboxes
    assert box.title == "Loch Ness"
    assert [(f.group, f.label, f.text) for f in box.fields] == [("Size", "Depth", "230 m"), ("Size", "Area", "56 km²")]
    assert box.fields[0].links == ("Metre",)


def test_all_lists_in_one_row_of_an_infobox_are_kept_and_without_marks() -> None:
    (box,) = infobox(
        f"<tr><th>Fish</th><td><ul><li>Pike{MARK}</li><li>Eel</li></ul>and <ul><li>Trout</li></ul></td></tr>"
    ).infoboxes
    assert box.fields[0].items == ("Pike", "Eel", "Trout")
    assert box.fields[0].text == "Pike\nEel\nand\nTrout"


def test_a_list_within_a_list_of_an_infobox_gives_items_in_their_order_and_none_twice() -> None:
    (box,) = infobox(
        "<tr><th>Fish</th><td><ul><li>Large<ul><li>Pike</li></ul></li><li>Eel</li></ul></td></tr>"
    ).infoboxes
    assert box.fields[0].items == ("Large", "Pike", "Eel")
    assert box.fields[0].text == "Large\nPike\nEel"


def test_an_infobox_made_of_divisions_with_a_table_in_it_is_read_in_the_order_of_the_page() -> None:
    (box,) = page(
        f"<div class='infobox_v3' {transclusion('pp', 'Infobox Lac')}><div class='entete'>Loch Ness</div>"
        "<table><caption>Géographie</caption><tr><th>Pays</th><td>Écosse</td></tr></table><p>Note</p></div>"
    ).infoboxes
    assert (box.template, box.title) == ("Infobox Lac", "Loch Ness")
    assert [(f.group, f.label, f.text) for f in box.fields] == [
        ("Géographie", "Pays", "Écosse"),
        ("Géographie", None, "Note"),
    ]


def test_a_heading_is_kept_whatever_follows_it() -> None:
    found = page(
        "<p>Lead</p><h2 id='T'>Table</h2><table><tr><td>1</td></tr></table><h3>List</h3><ul><li>x</li></ul>"
        "<h2>Nothing</h2>"
    )
    assert [(s.level, s.title) for s in found.sections] == [(0, ""), (2, "Table"), (3, "List"), (2, "Nothing")]
    assert [found.plain_text[s.start : s.end] for s in found.sections] == ["Lead", "", "x", ""]
    assert found.sections[1].anchor == "T"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>H<sub>2</sub>O and 10<sup>3</sup></p>", "H2O and 103"),
        ("<p>Ness (born 1953) [sic] and (a (b) c)</p>", "Ness (born 1953) [sic] and (a (b) c)"),
        ("<dl><dt>Loch</dt><dd>a lake</dd><dd>a bay</dd></dl>", "Loch\na lake\na bay"),
        ("<p><i>Group</i>'s <b>own</b>, «<a rel='mw:WikiLink' href='./X'>x</a>»</p>", "Group's own, «x»"),
        ("<p>one\ntwo  three&nbsp;four<br/>five</p>", "one two three four\nfive"),
        ("<ul><li>a<ul><li>b</li></ul></li></ul>", "a\nb"),
        (
            '<p>so <span class="mwe-math-element"><span style="display: none;"><math alttext="{\\displaystyle a^{2}}">'
            "<mi>a</mi></math></span><img class='mwe-math-fallback-image-inline'/></span>.</p>",
            "so a^{2}.",
        ),
        ('<style>.a{}</style><p>x<span style="display:none">hidden</span></p>', "x"),
        ('<div class="hatnote">For the film</div><p>x</p><div role="note">y</div>', "x"),
        ('<p>x<sup class="noprint Inline-Template">[citation needed]</sup></p>', "x"),
        ("<div>a</div><div>\u200b</div><div>\u200b(b)\u200b</div>", "a\n(b)"),
        ("<p>ពាក្យ\u200bមួយ</p>", "ពាក្យ\u200bមួយ"),  # between words of a script without spaces it is one
        (
            '<p>56 <span typeof=\'mw:LanguageVariant\' data-mw-variant=\'{"disabled":{"t":"km"}}\'></span>, '
            '<span typeof=\'mw:LanguageVariant\' data-mw-variant=\'{"twoway":[{"l":"zh-hans","t":"州"},'
            '{"l":"zh-hant","t":"邦"}]}\'></span><meta typeof=\'mw:LanguageVariant\' data-mw-variant=\'{"add":true,'
            '"twoway":[{"l":"zh-hans","t":"x"}]}\'/>.</p>',
            "56 km, 州.",
        ),
    ],
)
def test_text_is_what_a_reader_sees(html: str, text: str) -> None:
    assert page(html).plain_text == text


def test_categories_come_in_the_order_of_the_page_each_once_from_templates_too() -> None:
    links = [
        f'<link rel="mw:PageProp/Category" href="./Catégorie:{name}"/>' for name in ("B_c", "A#key", "B_c", "Z%26")
    ]
    found = page("<p>x</p>" + "".join(links))
    assert found.categories == (
        ShownCategory(title="B c"),
        ShownCategory(title="A", sort_key="key"),
        ShownCategory(title="Z&"),
    )


# Further fields


def test_each_link_says_in_which_box_it_stands() -> None:
    def link(title: str) -> str:
        return f'<a rel="mw:WikiLink" href="./{title}">x</a>'

    found = page(
        f'<p>{link("A")}</p><table class="infobox"><tr><td>{link("B")}</td></tr></table>'
        f"<table><tr><td>{link('C')}</td></tr></table>"
        f'<div class="navbox"><table><tr><td>{link("D")}</td></tr></table></div><div class="hatnote">{link("E")}</div>'
        f'<ol><li id="cite_note-1"><span>{link("F")}</span></li></ol>'
    )
    assert [(each.title, each.area) for each in found.links] == [
        ("A", Area.TEXT),
        ("B", Area.INFOBOX),
        ("C", Area.TABLE),
        ("D", Area.NAVIGATION),
        ("E", Area.NOTICE),
        ("F", Area.REFERENCE),
    ]
    assert len(found.tables) == 1


def test_templates_that_the_page_calls_have_their_names_and_parameters() -> None:
    found = page(f"<p {transclusion('Convert', 'Cn')}>x</p><p typeof='mw:Transclusion' data-mw='{{broken'>y</p>")
    assert [(t.name, t.parameters) for t in found.templates] == [("Convert", {"1": "x"}), ("Cn", {"1": "x"})]
    assert found.broken == 1
    assert found.plain_text == "x\ny"


def test_attributes_that_are_nested_deeper_than_python_goes_are_read() -> None:
    deep = "[" * 1_010 + "]" * 1_010
    call = f'{{"parts":[{{"template":{{"target":{{"href":"./Template:A"}},"params":{{"1":{{"wt":{deep}}}}}}}}}]}}'
    named = f'{{"attrs":{{"name":{deep},"group":{deep}}}}}'
    mark = f"<sup typeof='mw:Extension/ref' data-mw='{named}'><a href='./A#cite_note-1'>[1]</a></sup>"
    found = page(f"<p typeof='mw:Transclusion' data-mw='{call}'>x</p>{mark}<ol><li id='cite_note-1'>y</li></ol>")
    assert [(t.name, t.parameters) for t in found.templates] == [("A", {"1": "…"})]
    assert [(note.name, note.group, note.text) for note in found.references] == [("…", "…", "y")]


def test_the_record_says_which_revision_it_is_and_where_a_redirect_leads() -> None:
    found = page('<link rel="mw:PageProp/redirect" href="./Loch_Ness#Depth"/>')
    assert (found.rev_id, found.title) == (42, "Loch Ness")
    assert found.redirect == ShownRedirect(title="Loch Ness", anchor="Depth")
    assert read_html("<p>x</p>").rev_id is None
    assert found.source == "html"


def test_a_link_may_be_hidden_made_by_a_template_or_without_an_address() -> None:
    found = page(
        '<p><a rel="mw:WikiLink" href="./A" style="display: none">a</a>'
        f'<a rel="mw:WikiLink" href="./B%20c" {transclusion("T")}>b</a> <a rel="mw:WikiLink">c</a> '
        '<a typeof rel="mw:WikiLink" href="./D">d</a></p>'
    )
    assert [(link.title, link.text) for link in found.links] == [("A", "a"), ("B c", "b"), ("", "c"), ("D", "d")]
    assert (found.plain_text, [call.name for call in found.templates]) == ("b c d", ["T"])


def test_links_that_leave_the_wiki_are_kept_apart() -> None:
    found = page(
        '<p><a rel="mw:ExtLink nofollow" href="https://example.org/">out</a> <a rel="mw:WikiLink/Interwiki" '
        'href="https://es.wikipedia.org/wiki/El%20Oasis">es</a></p><link rel="mw:PageProp/Language" href="https://de.x/y"/>'
    )
    assert [(e.url, e.text) for e in found.external_links] == [("https://example.org/", "out")]
    assert [(e.url, e.text) for e in found.interwiki_links] == [("https://es.wikipedia.org/wiki/El%20Oasis", "es")]
    assert found.languages == ("https://de.x/y",)


# Bounds

HOSTILE = {
    "div": "<div>",
    "ul": "<ul><li>",
    "table": "<table><tr><td>",
    "infobox": '<table class="infobox"><tr><td>',
    "span": "<table><tr><td colspan=9999 rowspan=9999>x",
    "rows": "<tr><td rowspan=9999 colspan=999>",
    "formatting": "<b><i><font>x",
    "link": '<a rel="mw:WikiLink" href="./A">x',
    "reference": '<sup typeof="mw:Extension/ref">' + MARK,
    "note": '<ol><li id="cite_note-1">',
    "classes": '<div class="' + "navbox x " * 20 + '">',
    "json": "<p typeof='mw:Transclusion' data-mw='{\"parts\":[" + "[" * 50 + "'>",
    "entities": "&amp;&#1;&#xD800;",
    "comment": "<!-- -->",
    "heading": "<h2><h3>",
    "picture": '<img resource="./File:A.jpg"><figcaption>',
    "style": "<style>",
    "select": "<select><option>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_page_takes_longer_than_its_length_asks_for(name: str) -> None:
    def seconds(size: int) -> float:
        html = (HOSTILE[name] * (size // len(HOSTILE[name]) + 1))[:size]
        began = time.process_time()
        read_html(html)
        return time.process_time() - began

    seconds(1000)
    assert seconds(200_000) < 1.0


def test_what_is_beyond_a_bound_is_said_in_the_record() -> None:
    deep = read_html("<div>" * (MAX_DEPTH + 50) + "x")
    assert (deep.degraded, deep.plain_text) == ((Beyond.DEPTH,), "x")
    assert read_html("x" * (MAX_HTML + 1)).degraded == (Beyond.SIZE,)
    link = '<a rel="mw:WikiLink" href="./A">x</a>'
    many = page(link * 10_001)
    assert (len(many.links), many.truncated["links"]) == (10_000, 10_001)
    assert page(link).truncated == {}


@given(
    st.lists(
        st.sampled_from(
            [*HOSTILE.values(), MARK, NOTES, "</table>", "</div>", "</a>", "</sup>", "</li>", "text ", "\0\ud800"]
        )
        | st.text(max_size=5),
        max_size=40,
    )
)
def test_no_html_raises_and_the_same_gives_the_same(parts: list[str]) -> None:
    html = "".join(parts)
    found = read_html(html)
    assert found == read_html(html)
    assert all(0 <= s.start <= s.end <= found.plain_text_length for s in found.sections)
    orjson.dumps([found.plain_text, *[link.text for link in found.links]])


def test_what_was_read_is_freed_at_once_and_waits_for_no_collector() -> None:
    readers: list[weakref.ref[Reader]] = []

    class Watched(Reader):
        def __init__(self) -> None:
            super().__init__()
            readers.append(weakref.ref(self))

    gc.disable()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("processors.html.Reader", Watched)
            page(f"<h2 id=a>x</h2>{MARK}<table class=infobox><tr><td>y</table>{NOTES}")
        assert [reader() for reader in readers] == [None]
    finally:
        gc.enable()


# Real pages


@pytest.fixture(scope="module")
def real() -> dict[str, tuple[str, Rendered]]:
    folder = PAGES / "html"
    if not folder.is_dir():
        pytest.skip("the real pages are not beside the repository")
    texts = {path.stem: path.read_text("utf-8") for path in sorted(folder.glob("*.html"))}
    return {name: (text, read_html(text)) for name, text in texts.items()}


def test_no_real_page_is_lost(real: dict[str, tuple[str, Rendered]]) -> None:
    assert len(real) == 39
    for name, (_, found) in real.items():
        assert not found.degraded, name
        assert not found.truncated, name
        assert len(found.plain_text) > 300, name
        assert found.sections, name


def test_every_category_every_listed_reference_and_every_picture_of_the_real_pages_is_found(
    real: dict[str, tuple[str, Rendered]],
) -> None:
    for name, (text, found) in real.items():
        hrefs = re.findall(r'rel="mw:PageProp/Category"\s+href="(?:\./|https://[^/]*/wiki/)([^"]*)', text)
        paths = (unescape(href).partition("#")[0] for href in hrefs)
        categories = {unquote(path).partition(":")[2].replace("_", " ") for path in paths}
        assert {c.title for c in found.categories} == categories, name
        assert len(found.references) == len(set(re.findall(r"""\sid=(["'])(cite_note.*?)\1""", text))), name
        assert len(found.media) == len(re.findall(r"""<(?:img|video|audio)\b[^>]* resource=["']""", text)), name


def test_a_record_of_each_real_page_survives_its_codec(real: dict[str, tuple[str, Rendered]]) -> None:
    for name, (text, found) in real.items():
        enriched = enrich(replace(content(1, "x"), html=Html(answer=Answer.TEXT, text=text)))
        assert enriched.rendered == found, name
        assert enriched.rendered_absent is None
        encoded = encode_enriched(enriched)
        assert decode_enriched(encoded) == enriched, name
        SCHEMA.validate(orjson.loads(encoded))


def test_without_a_page_the_record_says_why() -> None:
    without = enrich(content(1, "x"))
    assert (without.rendered, without.rendered_absent) == (None, ContentAbsent.NOT_ASKED)
    missing = enrich(replace(content(1, "x"), html=Html(answer=Answer.MISSING)))
    assert (missing.rendered, missing.rendered_absent) == (None, ContentAbsent.MISSING)


def test_the_categories_and_templates_are_those_that_wikimedia_enterprise_names(
    real: dict[str, tuple[str, Rendered]],
) -> None:
    checked = 0
    for path in sorted((PAGES / "html").glob("*.json")):
        doc = orjson.loads(path.read_bytes())
        found = real[path.stem][1]
        assert {c.title for c in found.categories} == {c["name"].partition(":")[2] for c in doc["categories"]}
        theirs = {t["name"].partition(":")[2] for t in doc["templates"]}
        ours = {t.name for t in found.templates}
        # They write `bor+` as `bor `.
        assert {name.replace("+", " ").strip() for name in ours} == {name.replace("+", " ").strip() for name in theirs}
        checked += 1
    assert checked == 6


@pytest.mark.parametrize("name", ["frwiki__Anarchisme(wme-222526217)", "frwiki__Joséphine_Baker(wme-222515879)"])
def test_wikitext_and_html_of_one_revision_agree_where_they_can(
    real: dict[str, tuple[str, Rendered]], name: str
) -> None:
    shown = real[name][1]
    written = scan((PAGES / "wikitext" / f"{name}.txt").read_text("utf-8"), namespaces_of("frwiki"))
    # A heading may hold a template, whose text only HTML has.
    same = [a.title == b.title for a, b in zip(written.sections, shown.sections, strict=True)]
    assert same.count(False) <= 1
    top = Counter(t.name for t in written.templates if t.parent is None)
    calls = Counter(t.name for t in shown.templates)
    # One call in a nowiki-like place is the scanner's alone.
    assert (top - calls).total() <= 1
    assert not calls - top
    assert {c.title for c in written.categories} <= {c.title for c in shown.categories}
    # Links with a prefix of another wiki are interwiki links there.
    only_written = {link.title for link in written.links} - {link.title for link in shown.links} - {""}
    assert all(title.startswith(("S:", "D:")) for title in only_written), only_written
    urls = {link.url for link in written.external_links} - {link.url for link in shown.external_links}
    assert len(urls) <= 1
    assert not Counter(m.title for m in written.media) - Counter(m.title for m in shown.media)
    assert len(written.references) <= sum(note.marks for note in shown.references)
    assert {r.name for r in written.references} <= {note.name for note in shown.references} | {None}
