"""`spamcannibal doctor` and `status`: every finding in every state, by tables of facts; both on a small host."""

import json
import os
import re
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from spamcannibal.commands import main
from spamcannibal.doctor import asked, host, keeping, outlets, packets, process
from spamcannibal.doctor.asked import Key, ListHealth, Sampled, Spoken
from spamcannibal.doctor.finding import Finding, State, Untold, Wrong, exit_code, some
from spamcannibal.doctor.keeping import MIB, Books, Folder
from spamcannibal.doctor.packets import InPlace, Reader
from spamcannibal.store.alone import alone, last_run_s
from spamcannibal.tarpit.notes import QueueRow, parse_queue_table
from spamcannibal.tarpit.rules import Plan, Rule, iptables_apply, iptables_rules, rules_behind

OK, UNKNOWN, WARNING, BAD = State.OK, State.UNKNOWN, State.WARNING, State.BAD
NOW = 1_800_000_000.0
DAY = 86400.0
UNTOLD, WRONG = Untold("it can't be seen"), Wrong("it is broken")

WANTED = [rule for family in (4, 6) for rule in iptables_rules(iptables_apply(Plan(), family), family)]


def present(found=WANTED, backend="nft", behind=()):
    return InPlace([(backend, rule) for rule in found], behind)


def swapped(found):
    return [found[1], found[0], *found[2:]]


RULES = {
    "as wanted": (present(), OK, "14 rules"),
    "counters do not matter": (present([replace(rule, packets=5, bytes=9) for rule in WANTED]), OK, "by nft"),
    "chains in another order": (present(WANTED[7:] + WANTED[:7]), OK, ""),
    "none": (present([]), BAD, "no packet is queued"),
    "one missing": (present(WANTED[:2] + WANTED[3:]), BAD, "ipv4 mangle SPAMCANNIBAL: missing -p tcp"),
    "no IPv6": (present(WANTED[:7]), BAD, "ipv6 mangle SPAMCANNIBAL: missing"),
    "one too many": (
        present([*WANTED, Rule("ipv4", "mangle", "INPUT", "-i x -j SPAMCANNIBAL")]),
        BAD,
        "not wanted -i x",
    ),
    "wrong order": (present(swapped(WANTED)), BAD, "in the wrong order"),
    "twice": (present([*WANTED, WANTED[-1]]), BAD, "twice"),
    "another backend": (present(backend="iptables-nft"), WARNING, "in place by iptables-nft"),
    "two backends": (InPlace([("nft", WANTED[0]), ("iptables-legacy", WANTED[0])]), BAD, "at once"),
    "not last": (present(behind=["INPUT -p udp -j DROP"]), WARNING, "-p udp -j DROP"),
    "not to be seen": (UNTOLD, UNKNOWN, "can't be seen"),
}


@pytest.mark.parametrize(("fact", "state", "words"), RULES.values(), ids=RULES)
def test_rules_are_compared_with_what_apply_would_make(fact, state, words):
    finding = packets.rules("nft", WANTED, fact)
    assert finding.state is state and words in finding.found
    assert (finding.cure == "") == (state is OK)


def test_rules_that_nothing_can_be_compared_with_are_unknown():
    assert packets.rules("nft", UNTOLD, present()).state is UNKNOWN


SAVED = """*raw
-A OUTPUT -j SPAMCANNIBAL
-A OUTPUT -p udp -j ACCEPT
COMMIT
*mangle
:SPAMCANNIBAL - [0:0]
-A INPUT -p icmp -j ACCEPT
[3:4] -A INPUT -j SPAMCANNIBAL
[1:2] -A INPUT -p udp -j DROP
-A FORWARD -p udp -j DROP
-A SPAMCANNIBAL -j RETURN
COMMIT
"""


def test_only_what_follows_our_jump_in_its_own_mangle_chain_stands_behind_it():
    assert list(rules_behind(SAVED)) == ["INPUT -p udp -j DROP"]


@pytest.mark.parametrize(
    ("fact", "families", "state", "words"),
    [
        ("nft", (4, 6), OK, "by nft"),
        ("iptables-legacy", (4,), OK, "IPv4 only"),
        (UNTOLD, (4, 6), UNKNOWN, "can't"),
        (Wrong("no target", "load it"), (4, 6), BAD, "no target"),
    ],
)
def test_the_kernel_is_what_apply_found_it_to_be(fact, families, state, words):
    finding = packets.kernel(fact, families)
    assert finding.state is state and words in finding.found


ROW = QueueRow(4711, 3, 0, 0)
READERS = {4711: Reader(4711, "python3")}
QUEUES = {
    "read": ({0: ROW, 1: ROW}, READERS, OK, "process 4711 (python3)"),
    "by somebody of another namespace": ({0: ROW, 1: ROW}, {}, OK, "netlink port 4711"),
    "not read": ({}, READERS, BAD, "queue 0, 1"),
    "one not read": ({0: ROW}, READERS, BAD, "queue 1"),
    "stopped": ({0: ROW, 1: ROW}, {4711: Reader(4711, "python3", True)}, BAD, "is stopped"),
    "behind": ({0: ROW, 1: ROW._replace(waiting=500)}, READERS, BAD, "503 packets waiting"),
    "lost some": ({0: ROW, 1: ROW._replace(dropped=2, user_dropped=3)}, READERS, WARNING, "5 lost"),
    "not to be seen": (UNTOLD, READERS, UNKNOWN, "can't"),
}


@pytest.mark.parametrize(("rows", "readers", "state", "words"), QUEUES.values(), ids=QUEUES)
def test_each_queue_needs_a_reader_that_keeps_up(rows, readers, state, words):
    finding = packets.queues(range(2), rows, readers, 400)
    assert finding.state is state and words in finding.found


def test_the_queue_table_is_read_and_other_lines_are_left_out():
    text = "    0   4711     3 2  128     1     2        9  1\nnonsense\n    7  x 3 2 128 0 0 9 1\n 8 1\n"
    assert parse_queue_table(text) == {0: QueueRow(4711, 3, 1, 2)}


@pytest.mark.parametrize(
    ("is_read", "age_s", "began_s", "state"),
    [
        (True, 3.0, None, OK),
        (True, 500.0, None, BAD),
        (True, None, 500.0, BAD),
        (True, None, 0.4, UNKNOWN),
        (True, 500.0, 0.4, UNKNOWN),
        (False, 3.0, None, UNKNOWN),
        (True, UNTOLD, 0.4, UNKNOWN),
    ],
)
def test_a_tarpit_that_runs_must_write(is_read, age_s, began_s, state):
    assert packets.writing(is_read, age_s, [Reader(4711, "python3", age_s=began_s)]).state is state


@pytest.mark.parametrize(
    ("problems", "uncovered", "state"),
    [
        ((), (), OK),
        (("never-list:3: wrong",), (), BAD),
        ((), (bytes((192, 0, 2, 1)),), BAD),
        (UNTOLD, (), UNKNOWN),
    ],
)
def test_the_never_list_must_be_read_and_hold_us(problems, uncovered, state):
    assert keeping.never_list(problems, uncovered, "never-list").state is state


FOLDER = Folder("/store", "sc", 0o2770, (), 9000 * MIB, 40 * MIB)
FOLDERS = {
    "well": (FOLDER, {"tarpit.user": "sc", "dnsbl.user": "dns"}, OK, OK),
    "open to all": (replace(FOLDER, mode=0o777), {}, BAD, OK),
    "another's": (FOLDER, {"tarpit.user": "tarpit"}, BAD, OK),
    "a file of another": (replace(FOLDER, foreign=("log.1",)), {}, BAD, OK),
    "little room": (replace(FOLDER, free_bytes=500 * MIB), {}, OK, WARNING),
    "no room": (replace(FOLDER, free_bytes=MIB), {}, OK, BAD),
    "logs pile up": (replace(FOLDER, log_bytes=2000 * MIB), {}, OK, WARNING),
}


@pytest.mark.parametrize(("fact", "users", "permissions", "disk"), FOLDERS.values(), ids=FOLDERS)
def test_the_folder_must_be_its_users_and_have_room(fact, users, permissions, disk):
    assert {one.check: one.state for one in keeping.folder(fact, users)} == {"permissions": permissions, "disk": disk}


def test_a_folder_that_cannot_be_seen_is_unknown():
    assert [one.state for one in keeping.folder(UNTOLD, {})] == [UNKNOWN]


@pytest.mark.parametrize(
    ("fact", "state", "words"),
    [
        (Books(3, 9, NOW - 7200), OK, "2 h ago"),
        (Books(0, 0, None), OK, "0 listings"),
        (Books(3, 9, NOW + 600), WARNING, "future"),
        (Books(3, 9, NOW, is_loading=True), BAD, "not loaded"),
        (WRONG, BAD, "broken"),
        (UNTOLD, UNKNOWN, "can't"),
    ],
)
def test_the_database_says_how_it_is(fact, state, words):
    finding = keeping.books(fact, NOW)
    assert finding.state is state and words in finding.found


@pytest.mark.parametrize(("fact", "state"), [(True, OK), (False, WARNING), (UNTOLD, UNKNOWN)])
def test_the_clock(fact, state):
    assert keeping.clock(fact).state is state


@pytest.mark.parametrize(
    ("job", "at", "state"),
    [
        ("blcheck", NOW - 300, OK),
        ("blcheck", NOW - DAY, WARNING),
        ("cleanup", NOW - DAY, OK),
        ("cleanup", NOW - 5 * DAY, WARNING),
        ("blpreen", None, WARNING),
        ("blpreen", UNTOLD, UNKNOWN),
    ],
)
def test_a_job_is_missed_by_its_own_measure(job, at, state):
    assert [one.state for one in keeping.jobs({job: at}, NOW)] == [state]


SPOKEN = Spoken("bl.example.org", True, True, 0)
SERVERS = {
    "well": ([SPOKEN], OK, "1 zones"),
    "down": (WRONG, BAD, "broken"),
    "has no data": ([replace(SPOKEN, listed=None, clear=None, rcode="SERVFAIL")], BAD, "SERVFAIL"),
    "lists nothing": ([SPOKEN, replace(SPOKEN, listed=False)], BAD, "test points"),
    "lists all": ([replace(SPOKEN, clear=False)], BAD, "test points"),
    "stale": ([SPOKEN, replace(SPOKEN, behind=7)], BAD, "7 changes behind"),
    "may not be asked": ([replace(SPOKEN, listed=None, clear=None, rcode="REFUSED")], UNKNOWN, "may not ask"),
    "no serial": ([replace(SPOKEN, behind=None)], UNKNOWN, "unclear"),
    "untold": (UNTOLD, UNKNOWN, "can't"),
}


@pytest.mark.parametrize(("fact", "state", "words"), SERVERS.values(), ids=SERVERS)
def test_the_server_must_answer_and_be_as_new_as_the_database(fact, state, words):
    finding = asked.server("127.0.0.1:53", fact)
    assert finding.state is state and words in finding.found


@pytest.mark.parametrize(("fact", "state"), [(True, OK), (False, WARNING), (UNTOLD, UNKNOWN)])
def test_delegation(fact, state):
    assert asked.delegation("bl.example.org", fact).state is state


@pytest.mark.parametrize(
    ("fact", "state"), [(Sampled(50, ()), OK), (Sampled(50, ("192.0.2.1",)), BAD), (UNTOLD, UNKNOWN)]
)
def test_drift(fact, state):
    assert asked.drift("bl.example.org", fact).state is state


@pytest.mark.parametrize(
    ("fact", "state"),
    [({"a": ""}, OK), ({"a": "", "b": "no answer"}, WARNING), ({"a": "no answer"}, BAD), ({}, UNKNOWN)],
)
def test_resolvers(fact, state):
    assert asked.resolvers(fact).state is state


GOOD = ListHealth("zen.example.org", "ip4", "", NOW - 600)


@pytest.mark.parametrize(
    ("fact", "state"),
    [
        ([GOOD], OK),
        ([GOOD, replace(GOOD, why="lists everything")], WARNING),
        ([replace(GOOD, why="lists everything")], BAD),
        ([GOOD, replace(GOOD, checked=0.0)], UNKNOWN),
        (WRONG, BAD),
        (UNTOLD, UNKNOWN),
    ],
)
def test_remote_lists(fact, state):
    assert asked.lists(fact, NOW).state is state


@pytest.mark.parametrize(("fact", "state"), [("3 connections", OK), ("", OK), (WRONG, BAD), (UNTOLD, UNKNOWN)])
def test_a_listener(fact, state):
    finding = asked.listener("gather 127.0.0.1:10044", fact)
    assert finding.state is state
    assert "spamcannibal-gather" in finding.cure or state is OK


OWN = Key("A" * 40, True, True, 0.0)
ALICE = Key("B" * 40, True, False, 0.0)
KEYS = {
    "well": ([OWN, ALICE], [OK, OK]),
    "none": ([], [BAD, WARNING]),
    "expired": ([replace(OWN, is_usable=False), replace(ALICE, is_usable=False)], [BAD, WARNING]),
    "ends soon": ([replace(OWN, expires_s=NOW + 5 * DAY), ALICE], [WARNING, OK]),
    "not our own": ([replace(OWN, is_own=False), ALICE], [BAD, OK]),
    "no gpg": (WRONG, [BAD]),
    "gpg hangs": (UNTOLD, [UNKNOWN]),
}


@pytest.mark.parametrize(("keys", "states"), KEYS.values(), ids=KEYS)
def test_the_robot_needs_its_key_and_those_of_its_submitters(keys, states):
    found = list(asked.robot(keys, "a" * 40, {"alice": "b" * 40}, NOW))
    assert [one.state for one in found] == states


def outlet(**figures):
    lines = [f'spamcannibal_outlet_{name}{{outlet="rbldnsd:/f"}} {value:.15g}' for name, value in figures.items()]
    return "# HELP x y\n" + "\n".join(lines) + "\n"


DRIFTED = 'spamcannibal_outlet_drift_entries{outlet="rbldnsd:/f",kind="missing"} 2\n'
OUTLETS = {
    "current": (outlet(last_success_timestamp_seconds=NOW - 10), OK),
    "late": (outlet(last_success_timestamp_seconds=NOW - 3600), BAD),
    "never": (outlet(last_success_timestamp_seconds=0), BAD),
    "compared": (outlet(checked_timestamp_seconds=NOW - 60), OK),
    "compared long ago": (outlet(checked_timestamp_seconds=NOW - 9 * DAY), UNKNOWN),
    "differs": (outlet(checked_timestamp_seconds=NOW - 60) + DRIFTED, BAD),
    "nothing that tells": (outlet(serial=5), UNKNOWN),
    "no figures": ("nonsense", UNKNOWN),
    "a broken number": ('spamcannibal_outlet_serial{outlet="x"} 1e\n', UNKNOWN),
    "no file": (UNTOLD, UNKNOWN),
}


@pytest.mark.parametrize(("text", "state"), OUTLETS.values(), ids=OUTLETS)
def test_figures_of_exports(text, state):
    assert [one.state for one in outlets.judge("f.prom", text, NOW)] == [state]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("python3 -P -m spamcannibal -c /etc/x.toml --log-format text tarpit", ("tarpit", "/etc/x.toml")),
        ("/usr/bin/python3 /usr/bin/spamcannibal dnsbl", ("dnsbl", None)),
        ("/usr/bin/spamcannibal --config=y.toml up", ("up", "y.toml")),
        ("python3 -m spamcannibal gather --observe", ("gather", None)),
        ("python3 -m spamcannibal robot --lmtp", ("robot", None)),
        ("python3 -m spamcannibal robot", None),
        ("python3 -m spamcannibal dnsbl query 192.0.2.7", None),
        ("python3 -m spamcannibal -c", None),
        ("python3 -m spamcannibal status", None),
        ("vi spamcannibal tarpit", None),
        ("less /var/log/spamcannibal", None),
        ("tail -f -n 5 spamcannibal up", None),
        ("", None),
    ],
)
def test_services_are_known_by_their_command_lines(words, wanted):
    assert process.read_argv(words.split()) == wanted


def test_a_process_with_any_name_has_its_state_and_start():
    text = "7 (a ) S b) T " + " ".join(map(str, range(4, 53)))
    assert process.parse_stat(text) == ("T", 22)
    assert process.parse_stat("7 (x) S 1") is None
    assert process.parse_stat("") is None


def test_our_own_start_is_in_the_past():
    _, ticks = process.parse_stat(Path("/proc/self/stat").read_text())
    began_s = process.parse_boot_s(Path("/proc/stat").read_text()) + ticks / os.sysconf("SC_CLK_TCK")
    assert time.time() - 86400 < began_s < time.time() + 2


def make_process(proc, pid, words, *, net="net:[1]", environ=b"", cwd="/"):
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words.split()))
    (folder / "environ").write_bytes(environ)
    (folder / "stat").write_text(f"{pid} (python3) S " + " ".join(["0"] * 18) + " 700 0")
    (folder / "ns" / "net").symlink_to(net)
    (folder / "cwd").symlink_to(cwd)


def test_services_are_those_of_our_settings_and_namespace(tmp_path):
    make_process(tmp_path, "self", "")
    (tmp_path / "stat").write_text("cpu 1\nbtime 1000\n")
    ours = Path("/srv/s.toml")
    make_process(tmp_path, 11, "python3 -m spamcannibal -c s.toml tarpit", cwd="/srv")
    make_process(tmp_path, 12, "python3 -m spamcannibal dnsbl", environ=b"A=b\0SPAMCANNIBAL_CONFIG=/srv/s.toml\0")
    make_process(tmp_path, 13, "python3 -m spamcannibal gather")
    make_process(tmp_path, 14, "python3 -m spamcannibal -c /srv/s.toml robot --lmtp", net="net:[2]")
    make_process(tmp_path, 15, "python3 -m http.server")
    found, unsure = host.services(ours, tmp_path)
    assert {(each.name, each.pid) for each in found} == {("tarpit", 11), ("dnsbl", 12)}
    assert {each.since_s for each in found} == {1000 + 700 / os.sysconf("SC_CLK_TCK")}
    assert unsure == set()
    assert [each.pid for each in host.services(Path("/etc/spamcannibal/spamcannibal.toml"), tmp_path)[0]] == [13]


def test_services_of_others_are_neither_running_nor_not(tmp_path, monkeypatch):
    make_process(tmp_path, "self", "")
    (tmp_path / "stat").write_text("btime 1000\n")
    make_process(tmp_path, 11, "python3 -m spamcannibal tarpit")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(host, "_config", refuse)
    assert host.services(Path("/x"), tmp_path) == ([], {"tarpit"})


def test_only_what_is_bad_fails():
    mild = [Finding("a", state, "") for state in (OK, UNKNOWN, WARNING)]
    assert exit_code(mild) == 0
    assert exit_code([*mild, Finding("a", BAD, "")]) == 1


def test_long_lists_are_cut():
    assert some(map(str, range(9))) == "0, 1, 2 and 6 more"


# The commands.


@pytest.fixture
def run(tmp_path):
    (tmp_path / "never-list").write_text("@special\n@own\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    path = tmp_path / "s.toml"
    path.write_text(
        f'[store]\npath = "store"\ncache_bytes = "1MiB"\n[services]\nenabled = ["dnsbl", "gather"]\n'
        f'[dnsbl]\nlisten = ["127.0.0.1:{port}"]\n[[dnsbl.zone]]\nname = "bl.test"\n'
        f'[gather]\nlisten = ["127.0.0.1:{port}"]\n'
    )

    def call(*args):
        result = CliRunner().invoke(main.cli, ["-c", str(path), *args])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def states(result):
    return {row["check"].partition(" ")[0]: row["state"] for row in json.loads(result.stdout)}


def test_doctor_creates_nothing_and_checks_only_what_is_used(run, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run("doctor", "--json")
    found = states(result)
    assert result.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert found["never-list"] == "ok" and found["settings"] == "ok"
    assert {found[name] for name in ("store", "dns", "gather")} == {"bad"}
    assert not {"kernel", "rules", "queue", "remote", "robot", "resolver"} & found.keys()


def test_a_server_without_zones_is_bad(run, tmp_path):
    (tmp_path / "s.toml").write_text('[store]\npath = "store"\n[services]\nenabled = ["dnsbl"]\n')
    assert states(run("doctor", "--json"))["dns"] == "bad"


def test_lists_that_were_never_tested_are_unknown_and_dead_ones_a_warning(run, tmp_path):
    (tmp_path / "lists.d").mkdir()
    lists = (
        '[[list]]\nzone = "a.example.org"\nany = true\n[[list]]\nzone = "b.example.org"\nany = true\ndead = "gone"\n'
    )
    (tmp_path / "lists.d" / "x.toml").write_text(lists)
    with (tmp_path / "s.toml").open("a") as file:
        file.write(
            '[remote]\nlists = ["a.example.org", "b.example.org"]\nresolvers = ["127.0.0.1:9"]\ntimeout_s = 0.2\n'
        )
    rows = json.loads(run("doctor", "--json").stdout)
    found = [(row["state"], row["found"]) for row in rows if row["check"] == "remote lists"]
    assert [state for state, _ in found] == ["warning", "unknown"] and "b.example.org is dead" in found[0][1]
    assert {row["check"]: row["state"] for row in rows}["resolver"] == "bad"
    asked_now = [row for row in json.loads(run("doctor", "--deep", "--json").stdout) if row["state"] == "unknown"]
    assert "none finds any of" in next(row["found"] for row in asked_now if row["check"] == "remote lists")


def test_a_robot_whose_keys_are_nowhere_is_bad(run, tmp_path):
    with (tmp_path / "s.toml").open("a") as file:
        file.write(f'[robot]\npath = "{tmp_path}/robot"\nkey = "{"A" * 40}"\n')
    assert states(run("doctor", "--json"))["robot"] == "bad"


@pytest.fixture
def keys(tmp_path):
    yield tmp_path / "robot"
    subprocess.run(["gpgconf", "--homedir", tmp_path / "robot" / "gnupg", "--kill", "all"], check=True)


def test_the_robots_key_is_well_once_its_cure_was_carried_out(run, tmp_path, keys):
    settings, before = tmp_path / "s.toml", (tmp_path / "s.toml").read_text()
    robot = f'[robot]\npath = "{keys}"\nkey = "{{key}}"\n[[robot.submitter]]\nname = "alice"\n'
    settings.write_text(before + robot.format(key="A" * 40) + f'fingerprint = "{"B" * 40}"\n')
    made = run("robot", "key", "new", "Robot <robot@mx.test>")
    assert made.exit_code == 0, made.output
    found = {row["check"]: row["state"] for row in json.loads(run("doctor", "--json").stdout)}
    assert (found["robot key"], found["robot submitters"]) == ("bad", "warning")
    key = re.search(r'key = "([0-9A-F]{40})"', made.stderr)[1]
    settings.write_text(before + robot.format(key=key) + f'fingerprint = "{key}"\n')
    found = {row["check"]: row["state"] for row in json.loads(run("doctor", "--json").stdout)}
    assert (found["robot key"], found["robot submitters"]) == ("ok", "ok")


def test_doctor_reads_a_database_that_nobody_has_open(run):
    assert run("list", "add", "192.0.2.7", "--text", "spam").exit_code == 0
    found = states(run("doctor", "--json"))
    assert found["store"] == "ok" and found["drift"] == "unknown"


def test_doctor_says_how_a_job_fares_after_it_ran(run):
    assert run("doctor", "--json").stdout.count("never ran") == 1
    assert run("cleanup").exit_code == 0
    assert states(run("doctor", "--json"))["job"] == "ok"


def test_only_a_job_that_came_to_its_end_ran(tmp_path):
    assert last_run_s(tmp_path, "blcheck") is None
    with alone(tmp_path, "blcheck"):
        os.utime(tmp_path / "blcheck.lock", (1000, 1000))
    ended_s = last_run_s(tmp_path, "blcheck")
    assert ended_s > 1000
    with pytest.raises(ValueError, match="broken"), alone(tmp_path, "blcheck"):
        os.utime(tmp_path / "blcheck.lock", (1000, 1000))
        raise ValueError("broken")
    assert last_run_s(tmp_path, "blcheck") == 1000


def test_doctor_tells_what_is_wrong_in_the_settings_and_stops_there(run, tmp_path):
    (tmp_path / "s.toml").write_text("[tarpit]\nmode = 3\n")
    result = run("doctor", "--json")
    assert states(result) == {"settings": "bad"} and result.exit_code == 1


def test_the_never_list_without_us_is_bad_and_its_cure_mends_it(run, tmp_path):
    (tmp_path / "never-list").write_text("198.51.100.0/24\n")
    row = next(row for row in json.loads(run("doctor", "--json").stdout) if row["check"] == "never-list")
    assert row["state"] == "bad" and "@own" in row["cure"] and "@special" in row["cure"]
    (tmp_path / "never-list").write_text("@own\n@special\n")
    assert states(run("doctor", "--json"))["never-list"] == "ok"


def test_each_finding_that_is_not_ok_has_a_cure(run):
    for row in json.loads(run("doctor", "--json").stdout):
        assert (row["cure"] is None) == (row["state"] == "ok"), row


def test_status_counts_changes_by_who_made_them(run):
    assert run("list", "add", "192.0.2.7", "2001:db8::7", "--text", "spam").exit_code == 0
    found = json.loads(run("status", "--json").stdout)
    assert found["records"]["tarpit_v4"] == found["records"]["tarpit_v6"] == 1
    assert found["changes"] == {"hour": {"admin": 2}, "day": {"admin": 2}, "complete": True}
    assert found["zones"] == [{"zone": "bl.test", "serial": None, "behind": None}]
    assert found["held"] is None
    assert [row["running"] for row in found["services"]] == [False, False]


def test_status_without_a_database_calls_it_unknown(run, tmp_path):
    result = run("status")
    assert "list      unknown" in result.stdout and "changes   unknown" in result.stdout
    assert not (tmp_path / "store").exists()
