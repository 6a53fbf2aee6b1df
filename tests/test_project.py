"""Rights and the record that a partner reads."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from processors.project import on_topic, record_id, release_key, release_record, retract_record, without_parent
from processors.rights import rights
from schemas.decision import Decision, Signal
from schemas.learned import Protect, Stratum
from schemas.log import InvalidRecord
from schemas.reasons import BASE_SIGNALS, Bar, SignalKind, State

DECISION = Decision(
    policy="fast",
    wiki="dewiki",
    page_id=7,
    rev_id=5_000_000_000,
    epoch=0,
    state=State.RELEASED,
    reason=None,
    event_id="event-1",
    start_ms=1_800_000_000_000,
    hold_ms=300_000,
    fire_ms=1_800_000_360_000,
    decided_for_ms=1_800_000_360_000,
)
ENRICHED = {
    "change": {
        "domain": "de.wikipedia.org",
        "event_id": "event-1",
        "page": {"id": 7, "namespace": 0, "title": "Loch Ness"},
        "uri": "https://de.wikipedia.org/wiki/Loch_Ness",
    },
    "content": {"abstract": "Ein See."},
    "content_absent": None,
    "delta": None,
    "delta_absent": "no_parent",
    "provenance": {"parser": "sluice/1"},
}
SCHEMAS = {
    name: orjson.loads((Path(__file__).parents[1] / "schemas" / name / "1.0.0.json").read_bytes())
    for name in ("enriched", "edit", "retraction")
}


def release() -> dict:
    return orjson.loads(release_record(DECISION, orjson.dumps(ENRICHED), topic="t", released_at_ms=1_800_000_361_000))


@pytest.mark.parametrize(
    ("domain", "namespace", "licence", "project"),
    [
        ("de.wikipedia.org", 0, "CC-BY-SA-4.0", "Wikipedia"),
        ("www.wikidata.org", 0, "CC0-1.0", "Wikidata"),
        ("www.wikidata.org", 120, "CC0-1.0", "Wikidata"),
        ("www.wikidata.org", 1, "CC-BY-SA-4.0", "Wikidata"),
        ("en.wikinews.org", 0, "CC-BY-2.5", "Wikinews"),
        ("commons.wikimedia.org", 6, "CC-BY-SA-4.0", "Wikimedia Commons"),
    ],
)
def test_every_project_has_its_own_licence(domain, namespace, licence, project):
    owed = rights(domain, namespace, "Q42", 1)
    assert owed.licence == licence
    assert owed.licence_url.startswith("https://creativecommons.org/")
    assert f"by {project} contributors" in owed.attribution


def test_the_attribution_leads_to_the_history_of_the_page():
    owed = rights("de.wikipedia.org", 0, "Straße & Weg/1", 1)
    assert owed.attribution_url == ("https://de.wikipedia.org/w/index.php?title=Stra%C3%9Fe_%26_Weg/1&action=history")


def test_a_release_carries_change_content_integrity_rights_and_provenance():
    record = release()
    assert record["$schema"] == "/sluice/edit/1.0.0"
    assert record["meta"]["domain"] == "de.wikipedia.org"
    assert record["content"] == ENRICHED["content"]
    assert record["delta_absent"] == "no_parent"
    assert record["rights"]["licence"] == "CC-BY-SA-4.0"
    assert record["integrity"]["hold_seconds"] == 300
    assert record["integrity"]["released_at"] == "2027-01-15T08:06:01.000Z"
    assert record["integrity"]["signals"]["absent"] == [kind.value for kind in BASE_SIGNALS]


def test_the_same_input_gives_the_same_bytes_and_ids():
    assert release() == release()
    assert release()["meta"]["id"] == record_id(DECISION, "release")
    assert release_key(DECISION) == b"dewiki:7:5000000000:0:release"


def test_ids_differ_by_policy_revision_epoch_and_action():
    ids = {
        record_id(Decision(**{**as_dict(DECISION), **change}), action)
        for change in ({}, {"policy": "live"}, {"rev_id": 1}, {"epoch": 1}, {"wiki": "enwiki"})
        for action in ("release", "retract")
    }
    assert len(ids) == 10


def test_a_retraction_names_what_it_takes_back_and_why_and_carries_no_content():
    signal = Signal(kind=SignalKind.HIDE, event_id="event-2", at_ms=1_800_000_400_000)
    changes = {"state": State.RETRACTED, "reason": Bar.SUPPRESSED, "signals": (signal,)}
    record = orjson.loads(
        retract_record(Decision(**{**as_dict(DECISION), **changes}), topic="t", released_at_ms=1_800_000_401_000)
    )
    assert record["retracts"] == record_id(DECISION, "release")
    assert record["integrity"]["reason"] == "suppressed"
    assert record["integrity"]["signals"]["heard"][0]["event_id"] == "event-2"
    assert not {"content", "change", "delta"} & set(record)


def validator_of(name):
    registry = jsonschema_rs.Registry([(schema["$id"], schema) for schema in SCHEMAS.values()])
    return jsonschema_rs.validator_for(SCHEMAS[name], registry=registry, validate_formats=True)


def examples(decision: Decision = DECISION) -> dict[str, dict]:
    """An edit and its retraction, made from the example of an enriched record."""
    enriched = SCHEMAS["enriched"]["examples"][0]
    change = enriched["change"]
    decision = decision._replace(
        wiki=enriched["wiki"],
        page_id=enriched["page_id"],
        rev_id=change["revision"]["id"],
        event_id=change["event_id"],
    )
    topic = "sluice.reviewed-fast.v1"
    edit = release_record(decision, orjson.dumps(enriched), topic=topic, released_at_ms=1_800_000_361_000)
    hide = Signal(kind=SignalKind.HIDE, event_id="7d0b2d0e-6f0a-4b8e-9d0a-5f2a1c3b4d5e", at_ms=1_800_000_400_000)
    bad = decision._replace(state=State.RETRACTED, reason=Bar.SUPPRESSED, signals=(hide,))
    retraction = retract_record(bad, topic=topic, released_at_ms=1_800_000_401_000)
    return {"edit": orjson.loads(edit), "retraction": orjson.loads(retraction)}


@pytest.mark.parametrize("name", ["edit", "retraction"])
@pytest.mark.parametrize("known", [True, False])
def test_of_a_hold_that_was_learned_a_partner_reads_the_target_the_strata_the_cases_and_the_hold(name, known):
    own = Stratum("dewiki", "anon", "busy")
    protect = Protect(
        0.98, own, Stratum("dewiki") if known else None, 312 if known else 0, 5_400_500 if known else None
    )
    record = examples(DECISION._replace(protect=protect))[name]
    wiki = {"wiki": "dewiki", "editor_class": None, "activity": None}
    assert record["integrity"]["protect"] == {
        "target": 0.98,
        "stratum": {"wiki": "dewiki", "editor_class": "anon", "activity": "busy"},
        "curve": wiki if known else None,
        "cases": 312 if known else 0,
        "hold_seconds": 5400.5 if known else None,
    }
    validator_of(name).validate(record)
    assert "protect" not in examples()[name]["integrity"]


@pytest.mark.parametrize("name", ["edit", "retraction"])
def test_the_example_of_each_schema_is_what_publish_writes_and_is_valid(name):
    validator = validator_of(name)
    example = examples()[name]
    validator.validate(example)
    assert SCHEMAS[name]["examples"] == [example]
    assert not validator.is_valid({**example, "surprise": 1})
    assert not validator.is_valid({key: value for key, value in example.items() if key != "integrity"})


def test_an_edit_whose_parent_was_hidden_keeps_all_but_what_it_changed_and_is_valid():
    whole = examples()["edit"]
    assert whole["delta"] is not None
    left = without_parent(orjson.dumps(whole))
    assert orjson.loads(left) == whole | {"delta": None, "delta_absent": "hidden", "data_delta": None}
    assert without_parent(left) == left
    validator_of("edit").validate(orjson.loads(left))
    assert orjson.loads(on_topic(left, "pages"))["meta"] == whole["meta"] | {"stream": "pages"}


@pytest.mark.parametrize("enriched", [b"{", b"[]", b"{}", b'{"change": {}}'])
def test_an_enriched_record_that_lacks_what_every_record_must_carry_is_refused(enriched):
    with pytest.raises(InvalidRecord):
        release_record(DECISION, enriched, topic="t", released_at_ms=0)


def as_dict(decision: Decision) -> dict:
    return {name: getattr(decision, name) for name in Decision._fields}
