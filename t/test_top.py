"""`spamcannibal top`: rates are those between two readings, and what nobody tells is unknown."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.activity.figures import Hold
from spamcannibal.activity.live import Reading, document, rates
from spamcannibal.activity.now import Now, pack_now
from spamcannibal.addr import parse_addr
from spamcannibal.rows import when
from spamcannibal.store.stores import NewListing
from storekit import open_store

A = parse_addr("192.0.2.7")
MS = 1_800_000_000_000
counts = st.dictionaries(st.sampled_from(["packets.held", "dns.NOERROR", "dns.type.A"]), st.integers(0, 1 << 40))


@given(counts, counts, st.integers(1, 10_000))
def test_rates_are_growth_by_time(before, grown, span_ms):
    after = {name: before.get(name, 0) + grown.get(name, 0) for name in {**before, **grown}}
    found = rates(Now(MS, 1, before), Now(MS + span_ms, 1, after))
    assert found == {name: pytest.approx(grown.get(name, 0) * 1000 / span_ms) for name in after}


@pytest.mark.parametrize("before", [None, Now(MS, 2), Now(MS + 1000, 1), Now(MS + 2000, 1)])
def test_rates_are_unknown_without_an_earlier_reading_of_the_same_process(before):
    assert rates(before, Now(MS + 1000, 1, {"packets.held": 5})) is None


def test_the_document_tells_what_is_known():
    hold = Hold(A, MS - 60_000, MS - 2000, 7, 25)
    first = Now(MS - 2000, 1, {"packets.held": 10, "bytes.in": 100})
    second = Now(MS, 1, {"packets.held": 30, "bytes.in": 100}, {"sources": 3, "connections": 2}, [hold])
    dns = Now(MS - 2000, 1, {"dns.NOERROR": 0}), Now(MS, 1, {"dns.NOERROR": 5, "dns.type.A": 5, "dns.NXDOMAIN": 15})
    told = document(Reading(MS - 2000, first, dns[0], [], 1), Reading(MS, second, dns[1], [], 1), when)
    assert told["tarpit"]["packets_per_s"] == {"held": 10, "dropped": 0, "observed": 0, "passed": 0, "unseen": 0}
    assert (told["tarpit"]["sources"], told["tarpit"]["connections"], told["tarpit"]["bytes_in_per_s"]) == (3, 2, 0)
    assert told["dns"] == {"queries_per_s": 10.0, "outcomes_per_s": {"NOERROR": 2.5, "NXDOMAIN": 7.5}}
    assert told["sources"] == [
        {"source": "192.0.2.7", "since": when(MS - 60_000), "held_s": 60, "quiet_s": 2, "packets": 7, "port": 25}
    ]
    nothing = document(Reading(MS, None, None, None, None), Reading(MS, None, None, None, None), when)
    assert (nothing["tarpit"], nothing["dns"], nothing["changes"], nothing["listings"]) == (None, None, None, None)


@pytest.fixture
def folder(tmp_path):
    store = open_store(tmp_path / "store")
    store.list([NewListing(A, source="admin:[red]evil\x1b[31m", text="spam\u202e")], time.time())
    now = int(time.time() * 1000)
    told = Now(now + 5000, 1, {"packets.held": 5}, {"sources": 1}, [Hold(A, now - 9_000_000, now, 7, 25)])
    (tmp_path / "store" / "tarpit.now").write_bytes(pack_now(told))
    (tmp_path / "spamcannibal.toml").write_text(f'[store]\npath = "{tmp_path}/store"\n')
    yield tmp_path
    store.close()


def argv(folder, *words):
    return [sys.executable, "-P", "-m", "spamcannibal", "-c", str(folder / "spamcannibal.toml"), "top", *words]


def test_once_as_json_and_as_lines(folder):
    done = subprocess.run(
        argv(folder, "--once", "--json", "--interval", "0.2"), capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["sources"][0]["source"] == "192.0.2.7"
    assert told["tarpit"]["packets_per_s"]["held"] is None  # the same reading twice
    assert [change["key"] for change in told["changes"]] == ["192.0.2.7"]
    assert (told["listings"], told["dns"]) == (1, None)
    lines = subprocess.run(
        argv(folder, "--once", "--interval", "0.2"), capture_output=True, text=True, check=True
    ).stdout
    assert "held     192.0.2.7" in lines
    assert "2 h 30 min" in lines
    assert "\x1b" not in lines
    assert "\\u202e" in lines


def test_on_a_terminal_it_is_live_and_ends_in_order(folder):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            argv(folder, "--interval", "0.2"),
            {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
        )
    seen, end = b"", time.monotonic() + 20
    while not re.search(rb"192\.0\.2\.7.*\[red\]evil", seen, re.DOTALL) and time.monotonic() < end:
        if select.select([terminal], [], [], 0.5)[0]:
            seen += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    while select.select([terminal], [], [], 10)[0]:
        try:
            rest = os.read(terminal, 65536)
        except OSError:
            break
        if not rest:
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert b"[red]evil\\x1b[31m" in seen.replace(b"\r\n", b"\n")
    assert b"Held longest" in seen
