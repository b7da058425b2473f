"""The supervisor's rules: back-off, fatal exits, the order of stopping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.supervise import Action, Policy, State, Supervisor, Verb

POLICY = Policy(initial_s=0.5, max_s=30.0, grace_s=10.0)


def make(*names: str) -> Supervisor:
    made = Supervisor(names or ("tarpit", "dnsbl"), POLICY)
    made.start(0.0)
    return made


def test_services_start_in_the_order_given() -> None:
    assert Supervisor(["b", "a", "c"], POLICY).start(0.0) == [Action(Verb.START, n) for n in "bac"]


def test_back_off_doubles_up_to_its_maximum() -> None:
    supervisor, now, waits = make("one"), 0.0, []
    for _ in range(10):
        [wait] = supervisor.exited("one", 1, now)
        waits.append(wait.after_s)
        assert supervisor.tick(now + wait.after_s - 0.01) == []
        now += wait.after_s
        assert supervisor.tick(now) == [Action(Verb.START, "one")]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30]


def test_a_service_that_ran_long_begins_its_back_off_anew() -> None:
    supervisor = make("one")
    for now in (0.0, 10.0, 20.0):
        supervisor.exited("one", 1, now)
        supervisor.tick(now + 5)
    [wait] = supervisor.exited("one", 1, 25.0 + POLICY.max_s)
    assert wait.after_s == POLICY.initial_s


def test_back_off_never_overflows() -> None:
    supervisor = make("one")
    supervisor.services["one"].ends = 100_000
    assert supervisor.exited("one", -9, 1.0) == [Action(Verb.WAIT, "one", POLICY.max_s)]


@pytest.mark.parametrize("code", [0, 1, 69, 75, -9, -11])
def test_any_other_end_is_followed_by_a_restart(code: int) -> None:
    supervisor = make()
    assert supervisor.exited("dnsbl", code, 1.0) == [Action(Verb.WAIT, "dnsbl", 0.5)]
    assert supervisor.exit_code == 0
    assert supervisor.services["tarpit"].state is State.RUNNING


def test_wrong_settings_stop_everything_and_become_the_exit_code() -> None:
    supervisor = make()
    assert supervisor.exited("tarpit", 78, 1.0) == [Action(Verb.FATAL, "tarpit"), Action(Verb.TERMINATE, "dnsbl")]
    assert not supervisor.is_done
    assert supervisor.exited("dnsbl", 0, 2.0) == []
    assert supervisor.is_done
    assert supervisor.exit_code == 78


def test_settings_broken_later_leave_the_others_alone() -> None:
    supervisor = make()
    supervisor.ready("tarpit")
    supervisor.exited("tarpit", -9, 1.0)
    supervisor.tick(2.0)
    assert supervisor.exited("tarpit", 78, 2.5) == [Action(Verb.WAIT, "tarpit", POLICY.max_s)]
    assert supervisor.services["dnsbl"].state is State.RUNNING
    assert supervisor.exit_code == 0


def test_services_stop_one_at_a_time_the_last_started_first() -> None:
    supervisor = make("a", "b", "c")
    assert supervisor.stop(1.0) == [Action(Verb.TERMINATE, "c")]
    assert supervisor.exited("c", 0, 1.1) == [Action(Verb.TERMINATE, "b")]
    assert supervisor.exited("b", 0, 1.2) == [Action(Verb.TERMINATE, "a")]
    assert supervisor.exited("a", -15, 1.3) == []
    assert supervisor.is_done
    assert supervisor.exit_code == 0


def test_a_service_that_dies_out_of_turn_while_stopping_is_not_started_again() -> None:
    supervisor = make("a", "b", "c")
    supervisor.stop(1.0)
    assert supervisor.exited("a", -9, 1.1) == []
    assert supervisor.exited("c", 0, 1.2) == [Action(Verb.TERMINATE, "b")]
    assert supervisor.exited("b", 0, 1.3) == []
    assert supervisor.is_done


def test_a_service_that_waits_for_its_restart_is_not_waited_for() -> None:
    supervisor = make("a", "b")
    supervisor.exited("b", 1, 1.0)
    assert supervisor.stop(1.1) == [Action(Verb.TERMINATE, "a")]
    assert supervisor.tick(5.0) == []
    supervisor.exited("a", 0, 5.0)
    assert supervisor.is_done


def test_one_that_does_not_stop_is_killed_after_the_grace_and_again() -> None:
    supervisor = make("a")
    supervisor.stop(1.0)
    assert supervisor.next_due() == 11.0
    assert supervisor.tick(10.9) == []
    assert supervisor.tick(11.0) == [Action(Verb.KILL, "a")]
    assert supervisor.tick(11.1) == []
    assert supervisor.tick(21.0) == [Action(Verb.KILL, "a")]


def test_the_second_wish_to_stop_kills_what_still_runs() -> None:
    supervisor = make("a", "b", "c")
    supervisor.stop(1.0)
    supervisor.exited("c", 0, 1.1)
    assert supervisor.stop(1.2) == [Action(Verb.KILL, "a"), Action(Verb.KILL, "b")]


def test_ready_means_that_all_run_and_said_so() -> None:
    supervisor = make("a", "b")
    supervisor.ready("a")
    assert not supervisor.is_ready
    supervisor.ready("b")
    assert supervisor.is_ready
    supervisor.exited("a", 1, 1.0)
    assert not supervisor.is_ready
    supervisor.tick(2.0)
    assert not supervisor.is_ready, "a new process has to say so itself"


def test_a_service_that_falls_silent_after_a_beat_is_killed_and_started_again() -> None:
    supervisor = make("a")
    assert supervisor.tick(1000.0) == [], "without a beat there is no watchdog"
    supervisor.beat("a", 1000.0)
    supervisor.beat("a", 1020.0)
    assert supervisor.next_due() == 1020.0 + POLICY.watchdog_s
    assert supervisor.tick(1049.9) == []
    assert supervisor.tick(1050.0) == [Action(Verb.KILL, "a")]
    [wait] = supervisor.exited("a", -9, 1050.1)
    assert supervisor.tick(1050.1 + wait.after_s) == [Action(Verb.START, "a")]
    assert supervisor.next_due() is None


def test_nothing_is_due_while_all_run() -> None:
    assert make().next_due() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0, 1, 78, -9]), st.floats(0, 100)), max_size=40))
def test_whatever_happens_it_can_be_stopped_and_never_starts_again(events: list[tuple[str, int, float]]) -> None:
    supervisor, now = make("a", "b", "c"), 0.0
    running = {"a", "b", "c"}

    def carry_out(actions: list[Action]) -> None:
        for action in actions:
            if action.verb is Verb.START:
                assert action.service not in running, "never two processes of one service"
                running.add(action.service)
            elif action.verb in (Verb.TERMINATE, Verb.KILL):
                assert action.service in running

    for name, code, wait_s in events:
        now += wait_s
        carry_out(supervisor.tick(now))
        if name in running:
            running.discard(name)
            carry_out(supervisor.exited(name, code, now))
    carry_out(supervisor.stop(now))
    for name in sorted(running):
        running.discard(name)
        carry_out(supervisor.exited(name, 0, now))
    assert supervisor.is_done
    assert supervisor.tick(now + 1000) == []
