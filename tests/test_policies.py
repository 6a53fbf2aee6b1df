"""Policy files: what they may say, what is refused with line and reason, and what a running source does with them."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import jsonschema_rs
import pytest

from schemas.log import Policies, Policy, decode_policies, encode_policies
from schemas.policy_file import InvalidPolicy, read_policy_file
from streams.cli import main
from streams.policy_files import Watch, load
from streams.settings import InvalidSetting, Settings

ROOT = Path(__file__).parents[1]
PRESETS = sorted((ROOT / "deploy" / "policies").glob("*.toml"))
SCHEMA = jsonschema_rs.validator_for(json.loads((ROOT / "schemas" / "policy" / "1.0.0.json").read_text()))
HEAD = 'name = "mine"\n\n[[rule]]\nmatch = { editor_class = ["bot"] }\nhold = "5m"\n\n[[rule]]\n'
FULL = (
    HEAD
    + """\
hold = "1h"
clock = "quiet"
max_hold = "2d"
emit = "each"
risk = { model = "revertrisk-multilingual", max = 0.95, over = "extend 6h", treat_as = "over" }
require = "other_editor"
wait = "12h"
else = "release"
trust = { trusted = 0.5, temp = 2 }
war = { n = 4, hours = 12 }
restore = "instant"
horizon = "10d"
stall = "open"
"""
)
SURE = 'protect = 0.98\nmin_hold = "5m"\nmax_hold = "10d"\nuntil_learned = "3d"\n'


def test_the_presets_are_right_and_named_like_their_files():
    assert [path.stem for path in PRESETS] == ["archive", "careful", "fast", "live", "standard"]
    for path in PRESETS:
        assert load(path).name == path.stem
        SCHEMA.validate(tomllib.loads(path.read_text()))


def test_every_preset_shows_what_was_measured_of_such_a_window(capsys):
    assert main(["policy", "explain", *map(str, PRESETS)]) == 0
    said = capsys.readouterr().out
    for path in PRESETS:
        measured = tomllib.loads(path.read_text())["measured"]
        assert f"protection {100 * measured['protection']:g} %" in said
        assert f"{measured['retractions_per_1000']:g} retractions per 1,000" in said


def test_the_log_carries_a_policy_with_every_knob_and_the_short_form_unchanged():
    rules = Policies(
        policies=(
            read_policy_file(FULL),
            Policy(name="fast", hold_seconds=300),
            read_policy_file(HEAD.replace("mine", "sure") + SURE),
        )
    )
    assert decode_policies(encode_policies(rules)) == rules
    assert json.loads(encode_policies(rules))["policies"][1] == {"name": "fast", "hold_seconds": 300.0}


WRONG = [
    ('name = "mine"\nname = "twice"\n', 2, "no TOML"),
    ('name = "Mine"\n[[rule]]\nhold = 0\n', 1, "lower-case"),
    ('name = "mine"\n', 1, "one [[rule]]"),
    (HEAD + "hold = 5\nholdd = 6\n", 9, "no 'holdd'"),
    (HEAD + 'hold = "5 weeks"\n', 8, "a duration"),
    (HEAD + 'hold = "91d"\n', 8, "90 days"),
    (HEAD + "hold = 5\nprotect = 0.9\n", 8, "not beside protect"),
    (HEAD + "protect = 98\n", 8, "at most 0.99"),
    (HEAD + "protect = 0\n", 8, "more than 0"),
    (HEAD + 'protect = "98 %"\n', 8, "a share of the bad edits"),
    (HEAD + "protect = 0.9\ntrust = { trusted = 0.5 }\n", 9, "not with protect"),
    (HEAD + 'protect = 0.9\nmin_hold = "8d"\nmax_hold = "4d"\n', 9, "not longer than max_hold"),
    (HEAD + 'protect = 0.9\nmax_hold = "4d"\n', 9, "lies from min_hold to max_hold"),
    (HEAD + 'protect = 0.9\nuntil_learned = "1m"\nmin_hold = "5m"\n', 9, "lies from min_hold to max_hold"),
    (HEAD + "protect = 0.9\nuntil_learned = 0\n", 9, "more than 0"),
    (HEAD + "hold = 5\nmin_hold = 3\n", 9, "only with protect"),
    (HEAD + 'clock = "edit"\n', 7, "has a hold, or protect"),
    (HEAD + 'hold = 5\nclock = "wall"\n', 9, "edit or quiet"),
    (HEAD + 'hold = 5\nrequire = "patrolled"\nelse = "drop"\n', 10, "release or withhold"),
    (HEAD + 'hold = 5\nwait = "1h"\n', 9, "only with require"),
    (HEAD + 'hold = 5\nrisk = { model = "mine", max = 1 }\n', 9, "revertrisk"),
    (HEAD + 'hold = 5\nrisk = { model = "revertrisk-wikidata" }\n', 9, "either max"),
    (HEAD + 'hold = 5\nrisk = { model = "revertrisk-wikidata", fpr = 0.15 }\n', 9, "limits are known"),
    (HEAD + "hold = 5\ntrust = { bots = 1 }\n", 9, "no 'bots'"),
    (HEAD + "hold = 5\nwar = { n = 1 }\n", 9, "from 2 to 15"),
    (HEAD + 'hold = 5\nmatch = { wiki = "enwiki" }\n', 9, "the last rule"),
    (HEAD + "hold = 5\n[[rule]]\nhold = 6\n", 7, "ends the list"),
    (HEAD.replace('"bot"', '"robot"') + "hold = 5\n", 4, "'robot' is none of"),
]


@pytest.mark.parametrize(("text", "line", "reason"), WRONG)
def test_a_wrong_file_is_refused_with_its_line_and_the_reason(text, line, reason, tmp_path, capsys):
    with pytest.raises(InvalidPolicy) as refusal:
        read_policy_file(text)
    assert (refusal.value.line, reason in refusal.value.reason) == (line, True)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert main(["policy", "check", str(path)]) != 0
    assert f"{path}:{line}: " in capsys.readouterr().out


def test_a_rule_that_learns_its_hold_says_so_in_words_with_its_bounds_and_what_applies_until_then(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + SURE)
    assert main(["policy", "explain", str(path)]) == 0
    said = capsys.readouterr().out
    assert "as long as is learned to keep 98 % of bad edits away, 5 min at least and 10 d at most" in said
    assert "3 d while too few are known" in said
    assert main(["policy", "check", str(path)]) == 0
    assert "policy mine, 2 rules, 1 with a hold that is learned" in capsys.readouterr().out
    path.write_text(HEAD + "protect = 0.95\n")
    rule = load(path).rules[-1]
    assert (rule.protect, rule.hold_seconds, rule.max_hold_seconds) == (0.95, 7 * 86_400, 14 * 86_400)


def test_the_json_schema_takes_what_we_take():
    SCHEMA.validate(tomllib.loads(FULL))
    SCHEMA.validate(tomllib.loads(HEAD + SURE))
    by_number = {"no TOML", "the last rule", "ends the list", "90 days", "not longer than max_hold",
                 "lies from min_hold to max_hold", "only with require"}  # fmt: skip
    structural = [text for text, _, why in WRONG if why not in by_number and "limits" not in why
                  and "until_learned = 0" not in text]  # fmt: skip
    assert len(structural) > 10
    for text in structural:
        assert not SCHEMA.is_valid(tomllib.loads(text)), text


def test_the_settings_take_files_and_the_short_form_and_give_both_back(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(FULL)
    settings = Settings.from_env({"SLUICE_POLICIES": f"live=0, {path}"})
    assert [policy.name for policy in settings.policies] == ["live", "mine"]
    described = {name: value for name, value, _ in settings.described()}
    assert Settings.from_env(described).policies == settings.policies
    with pytest.raises(InvalidSetting, match="two policies are called 'mine'"):
        Settings.from_env({"SLUICE_POLICIES": f"mine=3,{path}"})
    path.write_text(HEAD)
    with pytest.raises(InvalidSetting, match=r"mine\.toml:7"):
        Settings.from_env({"SLUICE_POLICIES": str(path)})


def changed(path: Path, text: str) -> None:
    """Write a file so that its time differs, however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_running_source_takes_a_changed_file_and_keeps_the_last_good_one_when_it_is_wrong(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + 'hold = "1h"\n')
    watch = Watch(Policies(policies=(load(path),)))
    assert watch.current().policies[0].hold_seconds == 3600
    changed(path, HEAD + 'hold = "2h"\n')
    assert watch.current().policies[0].hold_seconds == 7200
    changed(path, HEAD + 'hold = "soon"\n')
    assert watch.current().policies[0].hold_seconds == 7200
    assert "mine.toml:8: hold: a duration" in watch.refused[str(path)]
    path.unlink()
    assert watch.current().policies[0].hold_seconds == 7200
    path.write_text(HEAD + 'hold = "3h"\n')
    assert watch.current().policies[0].hold_seconds == 10_800
    assert watch.refused == {}


def test_a_running_policy_is_not_renamed(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + 'hold = "1h"\n')
    watch = Watch(Policies(policies=(load(path),)))
    changed(path, HEAD.replace("mine", "other") + 'hold = "1h"\n')
    assert watch.current().policies[0].name == "mine"
    assert "renamed" in watch.refused[str(path)]


def test_trying_policies_shows_them_side_by_side(tmp_path, capsys):
    history = tmp_path / "h.csv"
    rows = ["P,1,2026-01-01T00:00:00Z,a,registered,a", "P,2,2026-01-01T00:10:00Z,v,anon,b",
            "P,3,2026-01-01T00:20:00Z,c,registered,a"]  # fmt: skip
    history.write_text("page,rev_id,ts,user,kind,sha1\n" + "\n".join(rows) + "\n")
    assert main(["policy", "try", str(PRESETS[3]), str(PRESETS[4]), "--on", str(history)]) == 0
    head, live, standard = capsys.readouterr().out.splitlines()
    assert "protection" in head
    assert live.split()[:6] == ["live", "3", "0", "0", "1", "0.0"]
    assert standard.split()[:6] == ["standard", "2", "1", "0", "0", "100.0"]
