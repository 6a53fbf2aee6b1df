"""Comparing two revisions: edit types, what came and went, sections, words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.blocks import blocks, split
from processors.delta import MAX_COMPARED, compare
from processors.namespaces import namespaces_of
from processors.scan import MAX_SIZE, scan
from schemas.enriched import DIFFERENCES, Degraded, Delta, Difference

PAIRS = Path(__file__).parents[2] / "shared" / "data" / "pages" / "pairs"


def between(old: str, new: str, wiki: str = "enwiki") -> Delta:
    return compare(old, new, namespaces_of(wiki))


def test_equal_texts_have_an_empty_delta() -> None:
    delta = between("a [[b]]\n== c ==\nd", "a [[b]]\n== c ==\nd")
    assert (delta.edit_types, delta.words_added, delta.words_removed, delta.byte_delta) == ({}, 0, 0, 0)
    assert delta.links == Difference()


def test_a_new_link_is_an_insert_and_another_text_of_it_a_change() -> None:
    assert between("a [[b]].", "a [[b]] [[c]].").edit_types["Wikilink"] == {"insert": 1}
    assert between("a [[b]].", "a [[b|x]].").edit_types["Wikilink"] == {"change": 1}
    assert between("a [[b]].", "a.").edit_types["Wikilink"] == {"remove": 1}


def test_a_template_whose_parameter_changed_is_a_change_and_no_template_came_or_went() -> None:
    delta = between("{{cite|title=A}} x", "{{cite|title=B}} x")
    assert delta.edit_types == {"Section": {"change": 1}, "Template": {"change": 1}}
    assert delta.templates == Difference()


def test_every_kind_has_its_word() -> None:
    new = (
        "[[a]] [[Category:B]] [[File:c.jpg]] {{d}} <ref>e</ref> [http://f.org] <!-- g -->\n"
        "{|\n|h\n|}\n<gallery>\nFile:i.jpg\n</gallery>\n== j ==\n"
    )
    assert between("", new).edit_types == {
        "Category": {"insert": 1}, "Comment": {"insert": 1}, "ExternalLink": {"insert": 1}, "Gallery": {"insert": 1},
        "Heading": {"insert": 1}, "Media": {"insert": 2}, "Reference": {"insert": 1}, "Table": {"insert": 1},
        "Section": {"insert": 2}, "Template": {"insert": 1}, "Wikilink": {"insert": 1},
        "Word": {"insert": 2},
    }  # fmt: skip


def test_titles_that_came_and_went_are_named_as_often_as_they_did() -> None:
    delta = between("[[Category:A]] {{x}} [[b]] [[b]]", "[[Category:C]] {{y}}{{y}} <ref>r</ref>")
    assert delta.categories == Difference(added=("C",), removed=("A",))
    assert delta.templates == Difference(added=("Y", "Y"), removed=("X",))
    assert delta.links == Difference(removed=("B", "B"))
    assert delta.references == Difference(added=("r",))


def test_sections_are_inserted_removed_or_changed_by_their_titles() -> None:
    delta = between("lead\n== a ==\n1\n== b ==\n2\n== c ==\n3", "lead\n== a ==\nx\n== d ==\n2\n== c ==\n3")
    touched = delta.sections
    assert (touched.inserted, touched.removed, touched.changed) == (("d",), ("b",), ("a",))


def test_a_section_that_only_moved_is_unchanged() -> None:
    delta = between("\n== a ==\n[[x]]\n== b ==\n{{y}}\n", "\n== b ==\n{{y}}\n== a ==\n[[x]]\n")
    assert delta.edit_types == {}


def test_words_are_counted_in_the_plain_text() -> None:
    delta = between("Loch Ness is deep. {{a|not these}}", "Loch Ness is very, very dark. {{a|nor those words}}")
    assert (delta.words_added, delta.words_removed) == (3, 1)
    assert delta.edit_types["Word"] == {"change": 1, "insert": 2}


def test_where_words_are_not_spaced_characters_are_counted() -> None:
    delta = between("柏林是德国首都。", "柏林是德国的首都。", "zhwiki")
    assert (delta.words_added, delta.words_removed) == (1, 0)


def test_marks_of_vowels_do_not_cut_a_word() -> None:
    assert between("", "बर्लिन जर्मनी", "hiwiki").words_added == 2


def test_bytes_are_those_of_utf_8() -> None:
    assert between("a", "ä€").byte_delta == 4


def test_only_sections_that_changed_are_looked_at() -> None:
    unchanged = "\n== far ==\n" + "[[x]] {{y}} " * 50
    assert between("a" + unchanged, "b" + unchanged).edit_types == {"Section": {"change": 1}, "Word": {"change": 1}}


def test_split_and_join_give_the_text_back() -> None:
    text = "lead\n== a == <!-- c -->\n1\n=b=\n== not\n===c===\n\n"
    sections = split(text)
    assert "".join(section for _, section in sections) == text
    assert [title for title, _ in sections] == ["", "a", "b", "c"]


def test_blocks_give_the_text_back_and_hold_together_what_markup_holds_together() -> None:
    text = "a\n{{b\n|c=[[d\n]]}}\n{|\n|e\n|}\n<ref>\n</ref><br>\n<!--\n-->\n* f\x85\ng"
    assert "".join(blocks(text)) == text
    assert blocks(text)[:3] == ["a\n", "{{b\n|c=[[d\n]]}}\n", "{|\n|e\n|}\n"]
    assert len(blocks(text)) == 7
    assert blocks("{{a\nb\nc") == ["{{a\nb\nc"]


def test_a_line_that_moved_to_another_section_did_not_change() -> None:
    delta = between("\n== a ==\nx\n[[y]]\n== b ==\n", "\n== a ==\nx\n== b ==\n[[y]]\n")
    assert delta.edit_types == {"Section": {"change": 2}}


def test_edit_types_are_told_by_section_too() -> None:
    delta = between("[[a]]\n== b ==\n{{c|1}}\n== d ==\ne", "[[a]] [[f]]\n== b ==\n{{c|2}}\n== d ==\n* e")
    assert delta.edit_types_by_section == {
        "": {"Wikilink": {"insert": 1}},
        "b": {"Template": {"change": 1}},
        "d": {"List": {"insert": 1}},
    }


def test_maintenance_tags_are_set_and_cleared() -> None:
    delta = between("a {{Citation needed}} {{Dead link}}", "a {{Citation needed}} {{POV}}")
    assert delta.maintenance == Difference(added=("POV",), removed=("Dead link",))


def test_media_and_external_links_that_came_and_went_are_named() -> None:
    delta = between("[[File:a.jpg]] http://a.org", "[[File:b.jpg]] [http://b.org x]")
    assert delta.media == Difference(added=("B.jpg",), removed=("A.jpg",))
    assert delta.external_links == Difference(added=("http://b.org",), removed=("http://a.org",))


@pytest.mark.parametrize("wiki", ["aawiki", "enwiki", "commonswiki", "simplewiki"])
def test_real_edits_add_up(wiki: str) -> None:
    if not PAIRS.is_dir():
        pytest.skip("the shared pairs of revisions are not here")
    for path in sorted(PAIRS.glob(f"{wiki}__*.json"))[:40]:
        old, new = (Path(f"{path}"[:-5] + side).read_text("utf-8") for side in (".old.txt", ".new.txt"))
        delta, namespaces = between(old, new, wiki), namespaces_of(wiki)
        was, now = scan(old, namespaces), scan(new, namespaces)
        for kind in DIFFERENCES:
            difference = getattr(delta, kind)
            grown = len(getattr(now, kind)) - len(getattr(was, kind))
            assert len(difference.added) - len(difference.removed) == grown, (path.stem, kind)
        assert delta.byte_delta == len(new.encode()) - len(old.encode())
        assert bool(delta.edit_types) == (old != new)


def test_of_what_one_side_alone_has_the_first_part_is_compared_and_the_delta_says_so() -> None:
    long = "[[b]] c\n" * (MAX_COMPARED // 8 + 1)
    delta = between("a\n", long + "[[d]]\n")
    assert delta.degraded == (Degraded.SIZE,)
    assert delta.words_added == pytest.approx(2 * MAX_COMPARED / 8, abs=3)
    assert set(delta.links.added) == {"B"}
    assert between(long, "a\n").degraded == (Degraded.SIZE,)
    assert delta.byte_delta == len(long) + 4


def test_a_long_page_of_which_little_changed_is_compared_whole() -> None:
    lines = [f"line {n} of it\n" for n in range(MAX_COMPARED // 10)]
    assert len("".join(lines)) > MAX_COMPARED
    delta = between("".join(lines), "".join([*lines[:-3], "and [[d]]\n", *lines[-3:]]))
    assert (delta.degraded, delta.links.added, delta.words_added) == ((), ("D",), 2)


def test_texts_beyond_what_is_read_say_so() -> None:
    text = "a\n" * (MAX_SIZE // 2 + 1)
    assert between(text, text + "b").degraded == (Degraded.SIZE,)


def test_no_scan_of_a_comparison_reads_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    monkeypatch.setattr("processors.delta.scan", lambda text, words: read.append(len(text)) or scan("", words))
    whole = "{{a|[[b]]}}\n" * (MAX_SIZE // 12)
    compare(whole.replace("b", "c"), whole, namespaces_of("enwiki"), scan("", namespaces_of("enwiki")))
    assert read == [MAX_COMPARED, MAX_COMPARED]


PIECES = [
    "a",
    "[[b]]",
    "{{c|",
    "}}",
    "<ref>",
    "</ref>",
    "\n== d ==\n",
    "\n",
    "* e",
    "{|\n|",
    "\n|}",
    "<!--",
    "-->",
    "'''",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.lists(st.sampled_from(PIECES), max_size=40))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_whatever_the_texts_what_came_and_went_adds_up(one: list[str], other: list[str]) -> None:
    old, new = "".join(one), "".join(other)
    assert "".join(blocks(old)) == old
    there, back = between(old, new), between(new, old)
    assert (there.words_added, there.words_removed) == (back.words_removed, back.words_added)
    assert (there.links.added, there.templates.removed) == (back.links.removed, back.templates.added)
    assert there.byte_delta == -back.byte_delta
    assert between(old, old).edit_types == {}
