"""What the bench compares the gate with does the same job: the figures would mean nothing otherwise."""

from __future__ import annotations

import random
from collections import Counter

from peers import history
from windows import Windows

from processors.shard import Shard
from schemas.decision import decode_decisions, encode_decisions
from schemas.log import KIND_CONTROL, KIND_TICK, Policies, Policy, encode_policies

HOLDS = (0, 20, 90)


def test_the_plain_windows_decide_the_same_as_the_gate_byte_for_byte():
    policies = Policies(policies=tuple(Policy(name=f"w{hold}", hold_seconds=hold) for hold in HOLDS), grace_seconds=60)
    shard = Shard()
    shard.apply(KIND_CONTROL, encode_policies(policies))
    windows = Windows([(f"w{hold}", hold * 1000) for hold in HOLDS])
    chooser = random.Random(1)
    ours, theirs = [], []
    log = [entry for entry in history(6000) if entry[0] != KIND_TICK or chooser.random() < 0.3]  # so that some are late
    for kind, value in log:
        made = [decision for group in shard.apply(kind, value) for decision in group.decisions]
        ours += sorted(encode_decisions([decision]) for decision in made)
        theirs += sorted(windows.tick(value) if kind == KIND_TICK else windows.edit(value))
    assert ours == theirs
    states = Counter(d.state.value for body in ours for d in decode_decisions(body))
    assert min(states[state] for state in ("released", "withheld", "retracted", "superseded")) > 0
