"""What the tarpit daemon decides without its threads: notes, reloads, chores that fail, the files that it keeps."""

import io
import os
import stat
import sys
import threading
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.commands.tarpit import override
from spamcannibal.errors import ConfigError, SpamCannibalError, StoreError
from spamcannibal.events import EventLog
from spamcannibal.record import EXCLUDED, PROVEN_CODE, SHADOW, Action, Change, Mode
from spamcannibal.service import Signals
from spamcannibal.settings import Settings
from spamcannibal.tarpit.chores import LONGEST_WAIT_S, Chore, Worker
from spamcannibal.tarpit.daemon import Daemon
from spamcannibal.tarpit.keep import load_secret, load_slots, save_slots
from spamcannibal.tarpit.notes import (
    VERBS,
    event_lines,
    flatten,
    growth,
    has_capability,
    keys_to_cut,
    merge_reload,
    merge_sightings,
    parse_queue_owners,
    parse_queues,
    sum_counters,
)
from storekit import open_store

A, B = b"\x0a\0\0\1", b"\x0a\0\0\2"

sightings = st.lists(
    st.tuples(st.binary(min_size=1, max_size=1), st.integers(1, 9), st.integers(0, 99), st.integers(100, 199))
)


@given(st.lists(sightings))
def test_merged_sightings_lose_nothing(parts):
    merged = merge_sightings(parts)
    every = [sighting for part in parts for sighting in part]
    assert [addr for addr, *_ in merged] == sorted({addr for addr, *_ in every})
    for addr, count, first, last in merged:
        mine = [sighting for sighting in every if sighting[0] == addr]
        assert count == sum(sighting[1] for sighting in mine)
        assert (first, last) == (min(sighting[2] for sighting in mine), max(sighting[3] for sighting in mine))


def test_an_event_is_told_once_however_often_its_packet_came():
    syn = (1, "TRAP", "stutter", A, 4000, B, 25)
    fin = (2, "FIN", "stutter", A, 4000, B, 25)
    assert list(event_lines([syn, syn, fin, fin])) == [
        ("TRAP", {"src": (A, 4000), "dst": (B, 25), "mode": "stutter"}),
        ("RELEASE", {"src": (A, 4000), "dst": (B, 25), "mode": "stutter", "how": "fin"}),
    ]


def test_every_event_that_the_core_hands_up_has_a_verb():
    _core = pytest.importorskip("spamcannibal._core")
    names = {name.upper() for name in _core.Trap(1, bytes(16)).stats()["events"]}
    assert names - {"PROBE", "ACKED", "STRAY"} <= set(VERBS)


def change(key: str, action: Action = Action.LIST, flags: int = 0, mode: Mode = Mode.DEFAULT) -> Change:
    return Change(1, 0, action, parse_key(key), PROVEN_CODE, "", "test", 0, flags, mode)


@pytest.mark.parametrize(
    ("given", "default", "is_cut"),
    [
        (change("10.0.0.1"), "stutter", True),
        (change("10.0.0.1"), "observe", False),
        (change("10.0.0.1", mode=Mode.DROP), "observe", True),
        (change("10.0.0.1", mode=Mode.OBSERVE), "stutter", False),
        (change("10.0.0.1", flags=EXCLUDED), "stutter", False),
        (change("10.0.0.1", flags=SHADOW), "stutter", False),
        (change("10.0.0.1", Action.UNLIST), "stutter", False),
        (change("10.0.0.1", Action.AMEND), "stutter", False),
    ],
)
def test_only_what_the_tarpit_now_refuses_is_cut(given, default, is_cut):
    assert list(keys_to_cut([given], default)) == [given.key] * is_cut


def test_a_reload_keeps_what_only_a_restart_can_change_and_names_it():
    old = Settings()
    tarpit = msgspec.structs.replace(old.tarpit, mode="drop", queues="0:3", copy_bytes=256)
    merged, kept = merge_reload(old, msgspec.structs.replace(old, tarpit=tarpit))
    assert merged.tarpit == msgspec.structs.replace(old.tarpit, mode="drop")
    assert kept == ("tarpit.queues", "tarpit.copy_bytes")
    assert merge_reload(old, old) == (old, ())


def test_options_override_settings_and_are_checked_like_them():
    options = {"queues": "1:2", "mode": "drop", "other_protocols": True, "loopback": None}
    changed = override(Settings(), options).tarpit
    assert (changed.queues, changed.mode, changed.other_protocols, changed.loopback) == ("1:2", "drop", True, False)
    for wrong in ({"queues": "3:1"}, {"queues": "x"}, {"throttle_window": 0}, {"throttle_window": 65}):
        with pytest.raises(ConfigError):
            override(Settings(), wrong)


@pytest.mark.parametrize(("text", "numbers"), [("0", [0]), ("7", [7]), ("0:3", [0, 1, 2, 3]), ("5:5", [5])])
def test_queues(text, numbers):
    assert list(parse_queues(text)) == numbers


def test_owners_of_queues_as_the_kernel_prints_them():
    text = (
        "    0   4711     0 2   128     0     0       12  1\n   65535  4712     0 2 65531     0     0        0  1\n?\n"
    )
    assert parse_queue_owners(text) == {0: 4711, 65535: 4712}


def test_capabilities_as_the_kernel_prints_them():
    status = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t0000000000001000\n"
    assert has_capability(status, 12)
    assert not has_capability(status, 13)


def test_counters_are_summed_flattened_and_told_as_growth():
    total = sum_counters([{"packets": 2, "bad": 1}, {"packets": 3, "bad": 0}])
    assert total == {"packets": 5, "bad": 1}
    assert growth({**total, "new": 1}, {"packets": 4, "bad": 1}) == {"packets": 1, "new": 1}
    assert flatten({"held": 1, "events": {"TRAP": 2}}) == {"held": 1, "events_trap": 2}


def test_a_failing_chore_backs_off_says_so_and_recovers():
    stream, fails = io.StringIO(), [StoreError("disk full"), ValueError("odd"), None]
    attempts = iter(fails)

    def run() -> None:
        failure = next(attempts)
        if failure:
            raise failure

    chore = Chore("contacts", 0.5, run)
    worker = Worker("clerk", [chore], EventLog(stream))
    waits = []
    for _ in fails:
        worker.do(chore)
        waits.append(chore.wait_s())
    assert waits == [1.0, 2.0, 0.5]
    assert stream.getvalue().splitlines() == [
        'TROUBLE what=contacts why="disk full" retry_s=1.0',
        'TROUBLE what=contacts why="ValueError: odd" retry_s=2.0',
        "RECOVERED what=contacts failures=2",
    ]


def test_a_chore_never_waits_longer_than_it_should_nor_than_its_interval():
    chore = Chore("x", 60.0, lambda: None)
    chore.failures = 16
    assert chore.wait_s() == 60.0
    chore.every_s = 0.1
    assert chore.wait_s() == LONGEST_WAIT_S


def test_a_worker_runs_its_chores_until_it_is_stopped():
    ran = threading.Event()
    worker = Worker("w", [Chore("c", 0.001, ran.set)], EventLog(io.StringIO()), niceness=1)
    worker.start()
    assert ran.wait(30)
    assert worker.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_ends_by_itself_ends_the_daemon(tmp_path, monkeypatch):
    log = EventLog(io.StringIO())
    settings = msgspec.convert({"store": {"path": str(tmp_path)}}, Settings)
    with closing(open_store(tmp_path)) as store, Signals() as signals:
        daemon = Daemon(settings, store, log)
        dying = Worker("follower", [Chore("follow", 0.0, sys.exit)], log)
        monkeypatch.setattr(daemon, "_workers", lambda *_: [dying])
        with pytest.raises(SpamCannibalError, match="thread follower ended"):
            daemon.serve(signals, lambda: settings)


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path):
    secret = load_secret(tmp_path)
    assert len(secret) == 16
    assert load_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "tarpit.secret").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tarpit.secret"]  # noqa: PTH208 - hidden ones too


def test_one_secret_wins_when_two_processes_make_it_at_once(tmp_path, monkeypatch):
    """The file appears between the look and the making, as if by another process."""
    path = tmp_path / "tarpit.secret"
    monkeypatch.setattr(
        "spamcannibal.tarpit.keep.secrets.token_bytes", lambda n: path.write_bytes(b"o" * n) and b"m" * n
    )
    assert load_secret(tmp_path) == b"o" * 16


def test_a_damaged_secret_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "tarpit.secret").write_bytes(b"short")
    with pytest.raises(ConfigError, match="got 5 bytes, want 16; remove it"):
        load_secret(tmp_path)


def test_slots_are_replaced_whole(tmp_path):
    assert load_slots(tmp_path) == b""
    save_slots(tmp_path, b"one")
    save_slots(tmp_path, b"two")
    assert load_slots(tmp_path) == b"two"
    with pytest.raises(StoreError):
        save_slots(tmp_path / "nowhere", b"x")
