"""The jobs' commands as cron and operators meet them, where no network is needed: settings, words, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.faulty_dns import FaultyDns
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main, running
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.report import UNSURE, Report
from spamcannibal.store.alone import alone
from spamcannibal.store.stores import NewListing
from storekit import everything, open_store

ROOT = Path(__file__).parent.parent
JOBS = ("blcheck", "blpreen", "cleanup")
PER_DAY = {"bl.test": 100_000, "small.test": 300}
COUNTRIES4, COUNTRIES6 = "16909056,16909311,XA\n", "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,XB\n"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "never-list").write_text("198.51.100.0/24\n@special\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text('[store]\npath = "store"\ncache_bytes = "1MiB"\n')
    return path


@pytest.fixture
def configure(settings):
    def add(text):
        settings.write_text(settings.read_text() + text + "\n")

    return add


@pytest.fixture
def run(settings):
    def call(*args):
        result = CliRunner().invoke(main.cli, ["-c", str(settings), *map(str, args)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def knock(store, *texts):
    now_ms = int(time.time() * 1000)
    store.archive([(parse_key(text), 1, now_ms, now_ms) for text in texts])


@pytest.fixture
def ruled(configure, tmp_path):
    """Settings with a rule in force."""
    (tmp_path / "block").write_text("9.0.0.0/8\n")
    configure('[jobs]\nblock_list = "block"')


@pytest.mark.parametrize("job", JOBS)
def test_cron_hears_nothing_when_nothing_happened(run, store, ruled, job):
    knock(store, "1.2.3.4", "198.51.100.7")
    for _ in range(2):
        result = run(job)
        assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("job", JOBS)
def test_json_is_the_whole_report(run, store, ruled, job):
    document = json.loads(run(job, "--json").stdout)
    assert {**document, "counts": {}} == {
        "job": job, "dry_run": False, "counts": {}, "zones": {}, "no_answer": {}, "breakers": [], "stopped": False,
        "unavailable": None,
        "rows": [],
    }  # fmt: skip


def test_rules_from_files_list_and_say_so_in_one_line(run, store, configure, tmp_path):
    (tmp_path / "block").write_text("1.2.3.4\n9.9.9.0/24\n")
    (tmp_path / "c4").write_text(COUNTRIES4)
    (tmp_path / "c6").write_text(COUNTRIES6)
    configure('[jobs]\nblock_list = "block"\nblock_text = ""\ncountries = ["XA", "XB"]\ncountry_db = ["c4", "c6"]')
    knock(store, "1.2.3.4", "1.2.3.5", "2001:db8:7::1", "5.5.5.5")
    dry = run("blcheck", "--dry-run")
    assert dry.stdout.splitlines()[-1] == "blcheck (dry run): listed 3, passed 1"
    assert [line.split()[:3] for line in dry.stdout.splitlines()[1:4]] == [
        ["1.2.3.4", "listed", "BlackList"], ["1.2.3.5", "listed", "XA"], ["2001:db8:7::/64", "listed", "XB"],
    ]  # fmt: skip
    assert run("blcheck").stdout == "blcheck: listed 3, passed 1\n"
    assert store.text(store.get_key(parse_key("1.2.3.4"))) == "blocked"
    stats = run("stats").stdout
    assert "BlackList" in stats and "(passed)" in stats
    found = json.loads(run("stats", "--json").stdout)
    assert found["zones"] == [{"zone": zone, "hits": 1} for zone in ("BlackList", "XA", "XB")]
    assert (found["passed"], found["records"]["tarpit"]) == (1, 3)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ('block_list = "none"', r"jobs\.block_list: can't read .*/none: No such file"),
        ('generic_ptr = "none"', r"jobs\.generic_ptr: can't read .*/none: No such file"),
        ('block_list = "bad"', r"bad:1: not an address: got '10'"),
        ('countries = ["XA"]\ncountry_db = ["none", "none6"]', r"can't read .*/none: .*apt install tor-geoipdb"),
        ('countries = ["XA"]\ncountry_db = ["bad", "never-list"]', r"bad:1: not a range"),
        ('countries = ["Germany"]', "two capital letters"),
        ('country_db = ["a", "b", "c"]', "got 3 files, want two, of IPv4 and of IPv6, or one of both"),
        ('countries = ["XA"]\ncountry_db = ["none"]', r"can't read .*/none: .*apt install libloc-database"),
        ('countries = ["XA"]\ncountry_db = ["bad"]', r"bad: no location database of version 1"),
        ("threshold = 0", "threshold"),
    ],
)
def test_what_is_wrong_with_a_rule_is_named_before_anything_is_done(run, store, configure, tmp_path, keys, wrong):
    (tmp_path / "bad").write_text("10/8\n")
    configure(f"[jobs]\n{keys}")
    knock(store, "1.2.3.4")
    with pytest.raises(ConfigError, match=wrong):
        run("blcheck")
    assert store.counts()["archive"] == 1


def test_a_breaker_is_told_and_exits_with_1(run, store, configure, tmp_path):
    (tmp_path / "block").write_text("9.0.0.0/8\n")
    configure('[guard]\nmax_per_net = 2\n[jobs]\nblock_list = "block"')
    knock(store, *(f"9.0.0.{n}" for n in range(5)), "9.1.0.1")
    result = run("blcheck")
    assert (result.exit_code, result.stdout) == (1, "blcheck: listed 3, held back 3\n")
    assert result.stderr == (
        "spamcannibal: blcheck: breaker: 2 listings in an hour in 9.0.0.0/24, which is the most that [guard] allows\n"
    )
    assert run("blcheck").exit_code == 1
    assert store.counts()["archive"] == 3


def test_what_others_listed_in_the_last_hour_counts_but_not_what_was_done_by_hand(run, store, configure, tmp_path):
    (tmp_path / "block").write_text("9.0.0.0/8\n")
    configure('[guard]\nmax_listings_per_hour = 3\n[jobs]\nblock_list = "block"')
    store.list([NewListing(bytes((7, 0, 0, n)), source="admin:me") for n in range(9)], time.time())
    store.list([NewListing(bytes((6, 0, 0, n)), source="robot:x") for n in range(2)], time.time())
    store.list([NewListing(bytes((5, 0, 0, n)), source="robot:x") for n in range(9)], time.time() - 3700)
    knock(store, *(f"9.0.{n}.1" for n in range(5)))
    assert json.loads(run("blcheck", "--json").stdout)["counts"] == {"listed": 1, "held_back": 4}


def test_with_no_rule_in_force_nobody_passes_unexamined(run, store):
    knock(store, "1.2.3.4")
    with pytest.raises(ConfigError, match=r"nothing to examine by; name lists in \[remote\]"):
        run("blcheck")
    assert store.counts()["archive"] == 1


def test_a_list_that_went_mad_since_the_last_run_lists_nobody(run, store, configure, tmp_path):
    (tmp_path / "lists.d").mkdir()
    lists = "".join(f'[[list]]\nzone = "{zone}"\nany = true\nper_day = {day}\n' for zone, day in PER_DAY.items())
    (tmp_path / "lists.d" / "test.toml").write_text(lists)
    with FaultyDns() as server:
        for zone in PER_DAY:
            server.good_list(zone)
        names = ", ".join(f'"{zone}"' for zone in PER_DAY)
        configure(f'[remote]\nlists = [{names}]\nresolvers = ["{server.endpoint}"]\ncanary = [". NS"]')
        knock(store, "1.2.3.4")
        assert json.loads(run("blcheck", "--json").stdout)["counts"] == {"passed": 1}
        server.wildcards.add("bl.test")
        server.asked.clear()
        assert run("blcheck").exit_code == 0
        assert [asked for asked, _, _ in server.asked if "127" in asked] == []  # nobody to ask about
        knock(store, "1.2.3.5")
        found = json.loads(run("blcheck", "--json").stdout)
    assert (found["counts"], found["no_answer"]) == ({"unsure": 1}, {"bl.test": 1})
    assert server.count("2.0.0.127.bl.test") == 1
    assert server.count("2.0.0.127.small.test") == 0  # whose day is too small for tests at each run
    assert store.counts()["tarpit"] == 0


def test_a_missing_directory_of_lists_is_named(run, configure):
    configure('[remote]\nlists = ["bl.test"]\nlists_dir = "none"')
    with pytest.raises(ConfigError, match=r"remote.lists_dir: /\S*/none: no such directory; a sample is conf/lists.d"):
        run("blcheck")


def test_who_is_unsure_is_told_line_by_line_only_if_asked(capsys):
    report = Report("blcheck", is_dry=True, counts=Counter(listed=1, unsure=1), doubts=Counter({"a.example": 1}))
    report.note(parse_addr("2001:db8::7"), "listed", zone="b.example", text="spam")
    report.note(parse_addr("198.51.100.7"), UNSURE, is_minor=True, text="a.example: timeout")
    running.show(report, as_json=False, verbose=False)
    brief = capsys.readouterr().out
    running.show(report, as_json=False, verbose=True)
    full = capsys.readouterr().out
    assert brief.splitlines()[-1] == "blcheck (dry run): listed 1, unsure 1; no answer from a.example 1"
    assert "2001:db8::7" in brief and "198.51.100.7" not in brief
    assert full.index("198.51.100.7  unsure") < full.index("2001:db8::7") and "a.example: timeout" in full


@pytest.mark.parametrize("job", JOBS)
def test_a_second_instance_says_so_and_exits_with_0(run, store, ruled, tmp_path, job):
    knock(store, "1.2.3.4")
    before = everything(store)
    with alone(tmp_path / "store", job) as is_first:
        assert is_first
        result = run(job)
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{job}: it runs already; nothing done\n")
        assert everything(store) == before
        assert run(job, "--dry-run").exit_code == 0
    with alone(tmp_path / "store", job) as is_first:
        assert is_first


def test_cleanup_says_what_it_cleared_away(run, store):
    store.list([NewListing(parse_key("1.2.3.4"), expiry_ms=1)], 1.0)
    store.archive([(parse_key("5.5.5.5"), 1, 1, 1)])
    dry = run("cleanup", "--dry-run").stdout.splitlines()
    assert (dry[1].split(), dry[-1]) == (["1.2.3.4", "expired", "-", "-"], "cleanup (dry run): expired 1, archive 1")
    assert run("cleanup").stdout == "cleanup: expired 1, archive 1\n"
    assert run("cleanup").output == ""


def test_sigterm_ends_a_run_in_order(store, settings, configure, tmp_path):
    (tmp_path / "block").write_text("9.0.0.0/9\n")
    configure('[jobs]\nblock_list = "block"\n[guard]\nmax_per_net = 1000000\nmax_per_source_per_hour = 1000000')
    store.archive([(bytes((9, n >> 8, n & 255, 1)), 1, 1, 1) for n in range(60_000)])
    argv = [sys.executable, "-m", "spamcannibal", "-c", str(settings), "blcheck"]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while store.counts()["archive"] == 60_000 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    listed = store.counts()["tarpit"]
    assert 0 < listed < 60_000
    assert out == f"blcheck: listed {listed}; stopped, the rest is for the next run\n"
    assert store.counts()["archive"] == 60_000 - listed


def test_the_crontab_names_launchers_that_are_shipped():
    lines = [line.split() for line in (ROOT / "cron" / "crontab").read_text().splitlines()]
    named = [words[-1] for words in lines if len(words) > 6 and not words[0].startswith("#")]
    assert named == ["sc_BLcheck", "sc_BLpreen", "sc_cleanup"]
    for name, job in zip(named, JOBS, strict=True):
        path = ROOT / "cron" / name
        assert os.access(path, os.X_OK)
        assert f'insert(at, "{job}")' in path.read_text()
