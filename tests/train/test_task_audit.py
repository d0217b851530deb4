"""Audits of a task: the same as an audit of its network, batch and loss; what cannot be audited."""

from __future__ import annotations

import pytest
from torch import nn
from train.toy import Toy, ToyStream

import tracetorch as tt
from tracetorch.testing import audit
from tracetorch.train import audit_task, make
from tracetorch.train.task_audit import trained

SMALL = {"hidden": 16, "batch_size": 8, "gain": 6.0}


def test_a_task_is_audited_as_its_network_batch_and_loss_are() -> None:
    """The reference of the one is the rule bptt, of the other autograd over neurons' steps."""
    task = make("digits", SMALL)
    ours = audit_task(task, ["cascade", "sltt", "trace:4"], seeds=[0])
    rules = {"cascade": tt.rules.cascade(), "sltt": tt.rules.sltt(), "trace:4": tt.rules.trace()}
    batch = task.batch(0)
    theirs = audit(task.build(), (batch.x, batch.y), nn.functional.cross_entropy, rules=rules)
    for rule in rules:
        for layer in ("0", "1", "2"):
            a, b = ours.agreements[rule][layer][0], theirs.agreements[rule][layer][0]
            assert (a.cosine, a.norm_ratio) == pytest.approx((b.cosine, b.norm_ratio), abs=1e-9)
    assert ours.agreements["sltt"]["0"][0].cosine < 0.99
    assert ours.agreements["bptt" if "bptt" in ours.agreements else "cascade"]["2"][0].relative_error < 1e-9
    assert ours.firing["0"][0].mean > 0.02


def test_training_goes_before_the_audit() -> None:
    task = make("digits", SMALL)
    first, later = (audit_task(task, ["sltt"], after=n).agreements["sltt"]["0"][0].cosine for n in (0, 3))
    assert first != later
    assert trained(task, "bptt", 3).iteration == 3


def test_a_stream_is_audited_from_its_beginning() -> None:
    found = audit_task(ToyStream(), ["bptt", "sltt"])
    assert found.agreements["bptt"]["0"][0].relative_error < 1e-10
    with pytest.raises(ValueError, match="one stream"):
        audit_task(ToyStream(), ["sltt"], after=1)


@pytest.mark.parametrize(
    ("task", "rules", "message"),
    [
        (make("cartpole"), ["sltt"], "it has rewards"),
        (Toy(), ["frozen"], "trains the readout alone"),
        (Toy(), ["nope"], "no rule 'nope'"),
        (Toy(), [], "at least one rule"),
        (ToyStream(), ["tbptt:4"], "does not have"),
    ],
)
def test_what_cannot_be_audited_is_told(task: object, rules: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        audit_task(task, rules)
