"""The failover drill measures what it says, and fails when something does not hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import responses

from tests.chaos import coverage
from tests.chaos.__main__ import End
from tests.chaos.checker import Finding
from tests.chaos.log import Log
from tests.failover import __main__ as drill
from tests.failover import cluster
from tests.failover.faults import Fault
from tests.failover.measure import Answer, Answers, Leader, Successes


def test_seconds_without_success_are_the_gaps_that_are_too_long() -> None:
    successes = Successes([0.0, 1.0, 2.0, 12.0, 12.5, 30.0])
    assert successes.without(1.5, 13.0) == 10.0
    assert successes.without(12.2, 20.0) == 7.5, "from the last success to the end"
    assert successes.without(5.0, 12.4) == 7.0, "from the begin to the first success"
    assert successes.without(0.5, 2.5) == 0.0


@responses.activate
def test_each_attempt_is_recorded_with_its_status() -> None:
    responses.post("http://service/v1/orders", status=201)
    responses.get("http://service/v1/orders", status=503)
    answers = Answers()
    with answers.recorded():
        requests.post("http://service/v1/orders", timeout=1)
        requests.get("http://service/v1/orders", timeout=1)
        with pytest.raises(requests.ConnectionError):
            requests.get("http://service/unknown", timeout=1)
    requests.get("http://service/v1/orders", timeout=1)
    assert [answer.status for answer in answers.all] == [201, 503, None]
    assert len(answers.writes.times) == 1


@pytest.fixture
def leader() -> Iterator[Leader]:
    leader = Leader([])
    leader.commits.times = [0.5 * number for number in range(200) if not 20 < number < 60]  # none from 10 s to 30 s
    yield leader
    leader.end()


def verdict(
    monkeypatch: pytest.MonkeyPatch, leader: Leader, *, first_success: float = 32.0, took: float = 5.0, wrong: int = 0
) -> int:
    """Return the exit status of a drill with one fault from 5 s to 50 s, and writes that fail from 10 s on."""
    monkeypatch.setattr(coverage, "occurrences", lambda facts: dict.fromkeys(coverage.REQUIRED, 1))
    answers = Answers()
    answers.all = [Answer(6.0, 6.0 + took, 503, "POST /v1/orders")]
    answers.writes.times = [0.5 * number for number in range(200) if not 10 < 0.5 * number < first_success]
    findings = [Finding(number, "it holds", 1) for number in range(1, 18)]
    findings[wrong - 1].wrong += ["order 1 is lost"] if wrong else []
    end = End(0.1, {}, findings, None)  # type: ignore[arg-type]
    return drill.report(1, Log(), [Fault("kill -9 the leader", 5.0, 50.0)], leader, answers, end)


def test_a_drill_in_which_everything_holds_succeeds(monkeypatch: pytest.MonkeyPatch, leader: Leader) -> None:
    assert verdict(monkeypatch, leader) == 0


@pytest.mark.parametrize("broken", [{"first_success": 36.0}, {"took": 15.5}, {"wrong": 1}, {"wrong": 3}])
def test_a_drill_fails(monkeypatch: pytest.MonkeyPatch, leader: Leader, broken: dict[str, float]) -> None:
    assert verdict(monkeypatch, leader, **broken) == 1  # type: ignore[arg-type]


def test_a_drill_without_etcd_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TANDEM_ETCD", "no-such-program")
    monkeypatch.setattr("sys.argv", ["failover"])
    assert drill.main() == 2
    assert "apt-get install etcd-server" in capsys.readouterr().out
    with pytest.raises(cluster.Inconclusive):
        cluster.programs()
