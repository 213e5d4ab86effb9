"""How runs of agents are named in metrics."""

import pytest

from control.conversations import run


def test_metrics_name_so_many_agents_and_the_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_names", set())
    names = [f"agent-{at}" for at in range(run.MOST_NAMES)]
    assert [run._label(one) for one in names] == names
    assert run._label("one-more") == run.OTHERS
    assert run._label("agent-3") == "agent-3"
