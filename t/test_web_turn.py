"""Requests compute one at a time, and whoever waits or hangs stops nobody."""

import threading

import pytest

from helpers.faulty_dns import FaultyDns, names
from spamcannibal.remote.names import Resolved
from spamcannibal.settings.remote import RemoteSettings
from spamcannibal.web import turn as turn_module
from spamcannibal.web.turn import Turn, away, taking_turns
from webkit import client, make_site

LONG_S = 60.0


def in_thread(fn):
    thread = threading.Thread(target=fn, daemon=True)
    thread.start()
    return thread


def test_one_at_a_time_has_the_turn():
    turn, inside, most, wrong = Turn(LONG_S), [], [], []

    def compute():
        for _ in range(200):
            turn.take()
            inside.append(1)
            most.append(len(inside))
            if not turn.is_mine:
                wrong.append("not mine")
            inside.pop()
            turn.give()

    for thread in [in_thread(compute) for _ in range(4)]:
        thread.join(LONG_S)
    assert (max(most), wrong, len(most)) == (1, [], 800)


def test_the_turn_is_taken_from_who_hangs_and_what_he_gives_later_is_not_his():
    turn, has_it, may_go = Turn(0.001), threading.Event(), threading.Event()

    def hang():
        turn.take()
        has_it.set()
        may_go.wait(LONG_S)
        turn.give()

    thread = in_thread(hang)
    assert has_it.wait(LONG_S)
    turn.take()
    assert turn.is_mine
    may_go.set()
    thread.join(LONG_S)
    assert turn.is_mine
    turn.give()
    assert not turn.is_mine


def test_who_takes_the_turn_twice_has_it_once():
    turn = Turn(LONG_S)
    turn.take()
    turn.take()
    turn.give()
    thread = in_thread(lambda: (turn.take(), turn.give()))
    thread.join(LONG_S)
    assert not thread.is_alive()


def test_the_turn_is_given_up_while_somebody_waits_and_when_an_answer_fails(monkeypatch):
    turn, seen = Turn(LONG_S), []
    monkeypatch.setattr(turn_module, "_turn", turn)

    def app(environ, start_response):
        seen.append(turn.is_mine)
        with away():
            seen.append(turn.is_mine)
        seen.append(turn.is_mine)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        taking_turns(app)({}, None)
    assert seen == [True, False, True]
    assert not turn.is_mine
    with away():
        pass
    assert not turn.is_mine  # who had it not gets it not


def test_a_dns_server_that_never_answers_stops_no_other_request(tmp_path, monkeypatch):
    monkeypatch.setattr(turn_module, "_turn", Turn(10 * LONG_S))  # only giving it up can help
    asked, may_answer = threading.Event(), threading.Event()

    def never(what):
        asked.set()
        may_answer.wait(LONG_S)
        names("late.example.org")(what)

    with FaultyDns() as dns, make_site(tmp_path) as site:
        dns.on("7.2.0.192.in-addr.arpa", never)
        site.asked._source = Resolved(RemoteSettings(resolvers=(dns.endpoint,)), LONG_S)
        web, waiting = client(site), client(site)
        got = []
        thread = in_thread(lambda: got.append(waiting.get("/lookup/192.0.2.7").text))
        assert asked.wait(LONG_S)
        assert web.get("/lookup/192.0.2.8.json").status_code == 200
        assert web.get("/").status_code == 200
        assert not got
        may_answer.set()
        thread.join(LONG_S)
    assert "late.example.org" in got[0]
