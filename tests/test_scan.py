"""The wikitext scanner: what it finds, what it must not be fooled by, and that no page makes it slow."""

from __future__ import annotations

import multiprocessing
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.found import Scan
from processors.namespaces import namespaces_of
from processors.plain_text import strip_quotes
from processors.scan import MAX_DEPTH, MAX_SIZE, scan
from schemas.enriched import Category, Degraded, ExternalLink, Link, Media, Redirect, Reference, Template
from schemas.shapes import LanguageLink

PAGES = Path(__file__).parents[2] / "shared" / "data" / "pages" / "wikitext"


def read(text: str, wiki: str = "enwiki") -> Scan:
    return scan(text, namespaces_of(wiki))


def template(title: str, /, *positional: str, parent: int | None = None, **named: str) -> Template:
    return Template(name=title, positional=positional, named=named, parent=parent)


# Links, categories, files


def test_a_link_has_a_normal_title_an_anchor_and_the_text_that_is_shown() -> None:
    assert read("[[foo_bar#Sec_1|shown ''so'' &amp; so]] [[:Category:X]] [[#here]]").links == (
        Link(title="Foo bar", anchor="Sec_1", text="shown so & so"),
        Link(title="Category:X", namespace=14),
        Link(title="", anchor="here"),
    )


def test_titles_of_a_wiktionary_keep_the_case_of_their_first_letter() -> None:
    assert read("[[word]]", "enwiktionary").links == (Link(title="word"),)


def test_a_category_has_its_sort_key_and_an_empty_one_is_not_absent() -> None:
    assert read("[[Category:lakes|Ness, Loch]][[category: Deep ]][[Category:X|]]").categories == (
        Category(title="Lakes", sort_key="Ness, Loch"),
        Category(title="Deep"),
        Category(title="X", sort_key=""),
    )


@pytest.mark.parametrize(
    ("wiki", "text"),
    [
        ("dewiki", "[[Kategorie:X]][[Datei:Y.jpg]]"),
        ("frwiki", "[[Catégorie:X]][[Fichier:Y.jpg]]"),
        ("ruwiki", "[[Категория:X]][[Файл:Y.jpg]]"),
        ("jawiki", "[[カテゴリ:X]][[ファイル:Y.jpg]]"),
        ("arwiki", "[[تصنيف:X]][[ملف:Y.jpg]]"),
        ("viwiki", "[[Thể loại:X]][[Tập tin:Y.jpg]]"),
        ("viwiki", "[[Thể_loại:X]][[Tập_tin:Y.jpg]]"),
        ("hiwiki", "[[Category:X]][[File:Y.jpg]]"),
    ],
)
def test_categories_and_files_are_known_by_the_words_of_their_wiki_and_by_the_english_ones(
    wiki: str, text: str
) -> None:
    found = read(text, wiki)
    assert ([c.title for c in found.categories], [m.title for m in found.media]) == (["X"], ["Y.jpg"])


def test_a_file_has_its_caption_and_the_links_within_it() -> None:
    found = read("[[File:a.jpg|thumb|left|A [[lake]] ''here'']] [[Image:b.png|20px]]")
    assert found.media == (Media(title="A.jpg", caption="A lake here"), Media(title="B.png"))
    assert [link.title for link in found.links] == ["Lake"]


def test_a_gallery_shows_files_with_captions_and_the_links_in_them() -> None:
    found = read("<gallery mode=packed>\nFile:a.jpg|A [[lake]]{{cn}}\nb.png\n\n</gallery>")
    assert [m.title for m in found.media] == ["A.jpg", "B.png"]
    assert [link.title for link in found.links] == ["Lake"]
    assert [t.name for t in found.templates] == ["Cn"]


def test_a_language_link_is_no_link_and_no_text_unless_it_begins_with_a_colon() -> None:
    found = read("Text.\n[[de:Loch Ness]]")
    assert (found.links, found.plain_text) == ((), "Text.")
    assert found.language_links == (LanguageLink(language="de", title="Loch Ness"),)
    assert read("[[:de:Loch Ness]]").links == (Link(title="De:Loch Ness", namespace=None),)


def test_brackets_that_are_no_link_are_text() -> None:
    found = read("[[a\nb]] [[]] [[a<b]] [[x")
    assert found.links == ()
    assert found.plain_text == "[[a\nb]] [[]] [[a<b]] [[x"


# Templates


def test_a_template_has_positional_and_named_values_as_written() -> None:
    assert read("{{ infobox_lake | Ness |name= Loch Ness |2=b| c=[[a|b=c]]}}").templates == (
        template("Infobox lake", " Ness ", name="Loch Ness", **{"2": "b", "c": "[[a|b=c]]"}),
    )


def test_nested_templates_come_after_the_one_around_them_and_name_it() -> None:
    assert read("{{a|{{b|{{c}}}}|x={{d|e=f}}}}{{g}}").templates == (
        template("A", "{{b|{{c}}}}", x="{{d|e=f}}"),
        template("B", "{{c}}", parent=0),
        template("C", parent=1),
        template("D", parent=0, e="f"),
        template("G"),
    )


def test_parser_functions_and_magic_words_keep_their_first_value_as_a_parameter() -> None:
    assert read("{{#if: a | b }}{{DEFAULTSORT:Ness, Loch}}{{lc:X}}").templates == (
        template("#if", "a", " b "),
        template("DEFAULTSORT", "Ness, Loch"),
        template("lc", "X"),
    )


def test_an_equals_sign_in_a_comment_a_link_a_reference_or_nowiki_names_no_parameter() -> None:
    text = '{{a|<!-- x=1 -->b|[[c|d=e]]|<nowiki>f=g</nowiki>|<ref name="h"/>|{{i|j=k}}}}'
    assert read(text).templates[0].named == {}
    assert len(read(text).templates[0].positional) == 5


def test_triple_braces_are_a_parameter_and_no_template() -> None:
    assert [t.name for t in read("{{{1|{{a}}}}} {{{{{2}}}|b}}").templates] == ["A", "{{{2}}}"]


def test_a_template_glued_to_a_url_is_not_part_of_the_url() -> None:
    found = read("http://a.org/x.pdf{{dead link}} (http://b.org/y(z).)")
    assert found.external_links == (ExternalLink(url="http://a.org/x.pdf"), ExternalLink(url="http://b.org/y(z).)"))
    assert [t.name for t in found.templates] == ["Dead link"]


def test_braces_that_nobody_closes_hide_nothing() -> None:
    found = read("{{a|b\n\n== H ==\n[[c]] {{d}}")
    assert ([link.title for link in found.links], [t.name for t in found.templates]) == (["C"], ["D"])
    assert [s.title for s in found.sections] == ["", "H"]


# References, external links, redirects


def test_references_have_name_group_and_content_and_one_that_names_another_has_none() -> None:
    text = "<ref name=\"a b\" group=n>{{cite|x=y}} [[c]]</ref><ref name='a b'/><REF>z</REF><ref name=q></ref>"
    assert read(text).references == (
        Reference(name="a b", group="n", content="{{cite|x=y}} [[c]]", text="c", citations=(0,)),
        Reference(name="a b"),
        Reference(content="z", text="z"),
        Reference(name="q", content="", text=""),
    )
    assert [link.title for link in read(text).links] == ["C"]


def test_an_unbalanced_quote_loses_no_reference() -> None:
    found = read("''open <ref>a ''b</ref> and <ref>c</ref>\n\n'''also {{t|''x}}")
    assert ([r.content for r in found.references], [t.name for t in found.templates]) == (["a ''b", "c"], ["T"])


def test_a_reference_is_a_wall_to_what_is_open_in_and_around_it() -> None:
    found = read("{{a|<ref>}} [[x</ref>|b}} [[c]]")
    assert [r.content for r in found.references] == ["}} [[x"]
    assert (found.templates[0].positional, found.links) == (("<ref>}} [[x</ref>", "b"), (Link(title="C"),))


def test_an_external_link_within_a_reference_within_a_file_is_found() -> None:
    found = read("[[File:a.jpg|thumb|x<ref>[http://a.org b]</ref>]] [[File:b.jpg|[http://c.org d]]]")
    assert found.external_links == (
        ExternalLink(url="http://a.org", text="b"),
        ExternalLink(url="http://c.org", text="d"),
    )
    assert [m.caption for m in found.media] == ["x", "d"]


def test_two_brackets_behind_a_url_close_the_link_around_it() -> None:
    found = read("[[a|[http://b.org c]] d]")
    assert found.links == (Link(title="A", text="[http://b.org c"),)
    assert found.external_links == (ExternalLink(url="http://b.org"),)


def test_a_bare_url_ends_before_quotes_and_angle_brackets() -> None:
    urls = [link.url for link in read("''http://a.org'' http://b.org&lt;/ref&gt; http://c.org).").external_links]
    assert urls == ["http://a.org", "http://b.org", "http://c.org"]


def test_external_links_have_text_or_none() -> None:
    assert read(
        "[https://a.org ''an'' [[x]]] [//b.org] [mailto:c@d.org mail] see https://e.org, ok"
    ).external_links == (
        ExternalLink(url="https://a.org", text="an x"),
        ExternalLink(url="//b.org"),
        ExternalLink(url="mailto:c@d.org", text="mail"),
        ExternalLink(url="https://e.org"),
    )


def test_a_url_in_the_text_of_an_external_link_is_no_link_unless_nobody_closes_that() -> None:
    assert [e.url for e in read("[http://a.org http://b.org]").external_links] == ["http://a.org"]
    assert [e.url for e in read("[http://a.org http://b.org\n]").external_links] == ["http://a.org", "http://b.org"]
    urls = [e.url for e in read("[http://a.org http://b.org] [http://c.org\n]").external_links]
    assert urls == ["http://a.org", "http://c.org"]


def test_an_external_link_ends_with_its_line() -> None:
    found = read("[http://a.org x\ny] [[z]]")
    assert (found.external_links, found.links) == ((ExternalLink(url="http://a.org"),), (Link(title="Z"),))


def test_a_redirect_names_its_target_in_the_words_of_its_wiki() -> None:
    assert read("#REDIRECT [[loch Ness#Depth]]").redirect == Redirect(title="Loch Ness", anchor="Depth")
    assert read("#Weiterleitung: [[Loch Ness]]", "dewiki").redirect == Redirect(title="Loch Ness")
    assert read("# see [[Loch Ness]]").redirect is None


# Sections and plain text


def test_sections_have_level_title_and_their_place_in_the_plain_text() -> None:
    found = read("Lead.\n== A [[b]] == <!-- c -->\nOne.\n=== D ''e'' ===\n==F==\nTwo.")
    shape = [(s.level, s.title, found.plain_text[s.start : s.end]) for s in found.sections]
    assert shape == [(0, "", "Lead."), (2, "A b", "One."), (3, "D e", ""), (2, "F", "Two.")]
    assert found.plain_text == "Lead.\n\nOne.\n\nTwo."
    assert found.abstract == "Lead."


def test_what_only_looks_like_a_heading_is_none() -> None:
    text = "<nowiki>\n== a ==\n</nowiki>\n<!--\n== b ==\n-->\n == c ==\n== d\n{{e|\n==\n}}"
    assert [s.title for s in read(text).sections] == [""]


def test_a_heading_whose_line_ends_the_template_it_began_in_is_no_section() -> None:
    found = read("{{a|[[b]]\n== c }} d ==\nx")
    assert ([s.title for s in found.sections], found.plain_text) == ([""], "d ==\nx")


def test_a_heading_in_a_value_of_a_template_is_no_section() -> None:
    assert [s.title for s in read("{{a|b=\n== c ==\n}}\n== d ==").sections] == ["", "d"]


def test_plain_text_keeps_what_readers_read() -> None:
    text = (
        "{{Infobox|a=b}}\n'''Loch Ness''' (''[[lake|loch]]''<ref>r</ref>) is [[deep]]er "
        "&lt; 1&nbsp;km<!-- c -->.__NOTOC__\n"
        '{| class="wikitable"\n|-\n| cell [[in]]\n|}\n* one\n*# two<br/>three [http://a.org four]\n'
        "<math>x^2</math><nowiki>[[raw]] <b></nowiki> <span style='x'>five</span>\n----\n[[Category:Lakes]]"
    )
    assert read(text).plain_text == (
        "Loch Ness (loch) is deeper < 1 km.\n\none\ntwo\nthree four\n[[raw]] <b> five"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Berlin ({{lang-de|x}}; {{IPA|y}}) is", "Berlin is"),
        ("Kiel ({{a}} – {{b}}) is", "Kiel is"),
        ("柏林（''{{lang|de|x}}''）是", "柏林是"),
        ("柏林 （''{{lang|de|x}}''）（{{a}}，生）({{b}}) 是", "柏林（生） 是"),
        ("Ulm ({{a}})({{b}}) ({{c}}) is", "Ulm is"),
        ("Riga ({{b}}, born 1201, {{c}}) is", "Riga (born 1201) is"),
        ("call f() or f(a, ) or ( )", "call f() or f(a, ) or ( )"),
        ("''{{a}}'' (b)", "(b)"),
        ("a, {{b}} c", "a, c"),
    ],
)
def test_brackets_that_only_held_templates_go_with_them(text: str, expected: str) -> None:
    assert read(text).plain_text == expected


@pytest.mark.parametrize(
    ("wiki", "text", "expected"),
    [
        ("srwiki", "56 -{km}-, [[a]] -{[[TXL]]}-", "56 km, a TXL"),
        ("zhwiki", "-{zh-hans:州; zh-hant:邦}-議會[[a|-{zh-cn:b;zh-tw:c}-]]", "州議會b"),
        ("zhwiki", "-{H|zh-cn:a;zh-tw:b}-x-{T|zh:y}-", "x"),
        ("zhwiki", "== -{A|zh-hans:甲;zh-hant:乙}- ==\nx", "x"),
        ("enwiki", "R-{CH}-R", "R-{CH}-R"),
    ],
)
def test_of_words_in_variants_the_first_is_shown_on_wikis_that_have_them(wiki: str, text: str, expected: str) -> None:
    found = read(text, wiki)
    assert found.plain_text == expected
    assert [s.title for s in found.sections[1:]] in ([], ["甲"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("''i'' '''b''' '''''both'''''", "i b both"),
        ("''open", "open"),
        ("l'''amour'' toujours", "l'amour toujours"),
        ("a '''b'' c", "a 'b c"),
        ("''''four'''", "'four"),
        ("''''''six'''''", "'six"),
    ],
)
def test_quotes_are_resolved_per_line_as_mediawiki_does(line: str, expected: str) -> None:
    assert strip_quotes(line) == expected


def test_a_table_is_dropped_with_its_text_and_kept_with_its_links() -> None:
    found = read("a\n{|\n| [[b]] {{c}}\n{|\n| d\n|}\n|}\ne")
    assert (found.plain_text, [link.title for link in found.links]) == ("a\n\ne", ["B"])
    assert sum(kind == "Table" for _, _, kind, _ in found.parts) == 2


@pytest.mark.parametrize("tag", ["nowiki", "pre", "math", "syntaxhighlight", "source", "timeline"])
def test_what_is_between_opaque_tags_is_no_wikitext(tag: str) -> None:
    found = read(f"<{tag} lang='x'>[[a]] {{{{b}}}} <ref>c</ref></{tag.upper()} > [[d]]")
    assert [link.title for link in found.links] == ["D"]
    assert (found.templates, found.references) == ((), ())


def test_an_opening_tag_that_nobody_closes_is_text_and_a_comment_runs_to_the_end() -> None:
    assert [link.title for link in read("<nowiki>[[a]]<ref>[[b]]").links] == ["A", "B"]
    assert [link.title for link in read("[[a]]<!-- [[b]]").links] == ["A"]


# Bounds

HOSTILE = [
    "{{", "}}", "[[", "]]", "<ref>", "</ref>", "{|", "\n{|", "\n|}", "[http", "[http://a ", "http://a", "{{a|", "{{{a|",
    "[[a|", "[[File:a|", "<nowiki>", "<!--", "<gallery>", "\n==", "\n== a ==", "''", "'''", "|", "=", "{{a|b=", "-->",
    "<ref name=", "&amp;", "__A", "\n*#:;", "[", "]", "{", "<b>", "<math>", "<", "\n ", "[[a]]", "{{a}}", "<ref/>", "~",
    "\n|-\n| a ",
]  # fmt: skip


def mixed(length: int, number: int) -> str:
    rng = random.Random(number)
    pieces: list[str] = []
    size = 0
    while size < length:
        pieces.append(rng.choice(HOSTILE) * rng.choice((1, 1, 1, 2, 30)))
        size += len(pieces[-1])
    return "".join(pieces)[:length]


def hostile(length: int) -> dict[str, str]:
    texts = {f"{piece!r} repeated": (piece * (length // len(piece) + 1))[:length] for piece in HOSTILE}
    marks = (("{{a|", "}}"), ("[[a|", "]]"), ("<ref>", "</ref>"), ("\n{|\n|", "\n|}"), ("{{a|[[b|", "]]}}"))
    for opener, closer in marks:
        half = length // (len(opener) + len(closer))
        texts[f"{opener!r} closed"] = opener * half + closer * half
        texts[f"{opener!r} closed in one"] = opener * 90 + "x" * (length - 1000) + closer * 90
    texts["braces"] = "{" * (length // 2) + "}" * (length // 2)
    texts["one table"] = "{|\n" + "! a !! b || c\n| d || e\n|-\n" * (length // 28) + "|}"
    texts["one row"] = "{|\n|" + "|| colspan=2 | x " * (length // 17) + "\n|}"
    texts["one gallery"] = "<gallery>\n" + "a.jpg|alt=[[b|{{c|\n" * (length // 20) + "</gallery>"
    texts["one infobox"] = "{{Infobox" + "\n| a = {{b}} [[c|d]]" * (length // 21) + "}}"
    texts["one list"] = "* a\n*# b\n: c\n" * (length // 13)
    texts["attributes"] = "<ref name=" + "a " * (length // 2) + "/>"
    texts["one line of links"] = "[http://a.org b] " * (length // 17)
    texts["brackets of nothing"] = "({{a}}, {{b}}" * (length // 13)
    texts["chains of templates"] = ("{{a|" * 90 + "}}" * 90) * (length // 540)
    return texts | {f"mix {number}": mixed(1_000, number) * (length // 1_000) for number in range(12)}


def steps(text: str) -> int:
    """How many lines of the processors run for one scan."""
    count = 0

    def trace(frame: object, event: str, _: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    namespaces = namespaces_of("enwiki")
    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        scan(text, namespaces)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", sorted(hostile(100)))
def test_the_work_grows_no_faster_than_the_page(name: str) -> None:
    small, middle, large = (steps(hostile(length)[name]) for length in (4_000, 8_000, 16_000))
    # Twice the growth of the text, twice the growth of the work, once the stack is as deep as it may become.
    assert large - middle <= 2.3 * (middle - small) + 100 * MAX_DEPTH


def _scan_all(length: int) -> None:
    for text in [*hostile(length).values(), *(mixed(length, number) for number in range(12))]:
        scan(text, namespaces_of("enwiki"))


def test_no_hostile_page_of_200_kb_stalls_the_scanner() -> None:
    process = multiprocessing.get_context("spawn").Process(target=_scan_all, args=(200_000,))
    process.start()
    process.join(timeout=120)  # all of them together take some 6 s of CPU time; one that was quadratic, minutes
    killed = process.is_alive()
    process.kill()
    process.join()
    assert (killed, process.exitcode) == (False, 0)


def test_a_page_beyond_a_bound_says_which() -> None:
    assert read("{{a|" * 150 + "}}" * 150).degraded == (Degraded.DEPTH,)
    assert read("{" * 300 + "}" * 300).degraded == (Degraded.DEPTH,)
    assert read("x" * (MAX_SIZE + 1)).degraded == (Degraded.SIZE,)
    assert read("{{a|" + "x" * 150_000 + "}}").degraded == (Degraded.RAW,)
    assert read("{{a|b}}").degraded == ()


def test_copies_of_nested_values_do_not_outgrow_the_page() -> None:
    found = read("{{a|" * 90 + "x" * 90_000 + "}}" * 90)
    copied = sum(len(value) for t in found.templates for value in t.positional)
    assert (len(found.templates), copied < 600_000, found.degraded) == (90, True, (Degraded.RAW,))


def test_a_hundred_brackets_that_nobody_closes_do_not_hide_what_follows() -> None:
    found = read("[[a " * 300 + "\n[[b]] {{c}}")
    assert (found.links, [t.name for t in found.templates]) == ((Link(title="B"),), ["C"])


MORE = [
    "a", " b ", "c d", ":", "Category:", "-->", "</ref>", " }} ", " ==", "\n* ", "\n! ", "||", "{{Infobox x",
    "</gallery>", "File:a.jpg", "\n|+ c", "\x7f", "[[de:x]]", "{{cn}}", "\r\n", "alt=",
]  # fmt: skip


@given(st.lists(st.sampled_from([*HOSTILE, *MORE]), max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_the_text_sections_follow_each_other_and_things_lie_within_the_page(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = read(text)
    at = 0
    for section in found.sections:
        assert at <= section.start <= section.end <= len(found.plain_text)
        at = section.end
    assert all(0 <= start < end <= len(text) + 1 for start, end, _, _ in found.parts)
    assert all(t.parent is None or t.parent < number for number, t in enumerate(found.templates))


@given(st.text(alphabet=st.characters(), max_size=300))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_text_is_read(text: str) -> None:
    found = read(text)
    assert len(found.sections) >= 1
    assert all(0 <= i.start <= i.end <= len(found.plain_text) for each in found.lists for i in each.items)
