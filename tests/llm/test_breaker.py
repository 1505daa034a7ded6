"""The circuit breaker in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from stretto.llm.breaker import Breaker, BreakerOptions, BreakerState, RequestEvent

ASKED, SUCCEEDED, FAILED, LEFT = RequestEvent


def opened(failures: int = 3, pause_s: float = 10.0) -> Breaker:
    breaker = Breaker(BreakerOptions(failures, pause_s))
    for _ in range(failures):
        assert breaker.feed(ASKED, 0.0)
        breaker.feed(FAILED, 0.0)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker(BreakerOptions(failures=2))
    for event in (FAILED, SUCCEEDED, FAILED, LEFT):
        assert breaker.feed(ASKED, 0.0)
        breaker.feed(event, 0.0)
    assert breaker.state is BreakerState.CLOSED
    breaker.feed(FAILED, 0.0)
    assert breaker.state is BreakerState.OPEN


def test_open_it_refuses_until_the_pause_is_over() -> None:
    breaker = opened()
    assert not breaker.feed(ASKED, 9.9) and breaker.wait_s(9.0) == 1.0
    assert breaker.feed(ASKED, 10.0) and breaker.wait_s(10.0) == 0.0


def test_one_request_tries_at_a_time() -> None:
    breaker = opened()
    assert breaker.feed(ASKED, 10.0) and not breaker.feed(ASKED, 10.0)
    breaker.feed(LEFT, 11.0)
    assert breaker.feed(ASKED, 11.0)
    breaker.feed(SUCCEEDED, 12.0)
    assert breaker.state is BreakerState.CLOSED and breaker.feed(ASKED, 12.0) and breaker.feed(ASKED, 12.0)


def test_a_failing_try_opens_it_for_another_pause() -> None:
    breaker = opened()
    assert breaker.feed(ASKED, 10.0)
    breaker.feed(FAILED, 11.0)
    assert not breaker.feed(ASKED, 20.9) and breaker.feed(ASKED, 21.0)


def test_a_request_of_before_that_fails_late_does_not_prolong_the_pause() -> None:
    breaker = opened()
    breaker.feed(FAILED, 9.0)
    assert breaker.feed(ASKED, 10.0)


@pytest.mark.parametrize("options", [{"failures": 0}, {"pause_s": -1.0}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="failures >= 1"):
        BreakerOptions(**options)


class Requests(RuleBasedStateMachine):
    """Requests that overlap, against what a breaker promises."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(BreakerOptions(failures=3, pause_s=5.0))
        self.now, self.running, self.since_failure = 0.0, 0, 0.0
        self.row = 0

    @rule(seconds=st.floats(0.0, 8.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def ask(self) -> None:
        before = self.breaker.state
        went = self.breaker.feed(ASKED, self.now)
        if before is BreakerState.CLOSED:
            assert went
        if before is BreakerState.OPEN:
            assert went == (self.breaker.state is BreakerState.HALF_OPEN)
        self.running += went

    @precondition(lambda self: self.running)
    @rule(event=st.sampled_from([SUCCEEDED, FAILED, LEFT]))
    def end(self, event: RequestEvent) -> None:
        self.running -= 1
        self.row = {FAILED: self.row + 1, SUCCEEDED: 0, LEFT: self.row}[event]
        self.breaker.feed(event, self.now)
        if event is SUCCEEDED:
            assert self.breaker.state is BreakerState.CLOSED
        if self.row < 3:
            assert self.breaker.state is BreakerState.CLOSED
        elif event is FAILED:
            assert self.breaker.state is BreakerState.OPEN

    @precondition(lambda self: not self.running)
    @rule()
    def nothing_locks_it_for_good(self) -> None:
        self.now += 5.0
        assert self.breaker.feed(ASKED, self.now)
        self.running += 1


TestRequests = Requests.TestCase


@given(st.lists(st.sampled_from(list(RequestEvent)), max_size=30), st.floats(0, 1e6))
def test_the_wait_is_within_the_pause(events: list[RequestEvent], now: float) -> None:
    breaker = Breaker(BreakerOptions(failures=2, pause_s=4.0))
    for event in events:
        breaker.feed(event, now)
        assert 0.0 <= breaker.wait_s(now) <= 4.0
