"""Exports from a store: whole files, following the journal, failing consumers, and the command."""

import json
import os
import signal
import stat
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from export_peers import FACTS
from spamcannibal.addr import format_addr, parse_addr, parse_key
from spamcannibal.colours import COLOURS
from spamcannibal.commands.main import cli
from spamcannibal.dnsbl.export import files, kernel, outlet, sample
from spamcannibal.dnsbl.export.drift import Drift
from spamcannibal.dnsbl.export.entry import published, refused
from spamcannibal.dnsbl.export.figures import Figures, outlet_name
from spamcannibal.dnsbl.export.follow import Export, Job
from spamcannibal.dnsbl.export.pace import LONGEST_FACTOR, RETRY_LIMIT_S, Pace
from spamcannibal.errors import ConfigError, Replaced, StoreError, Unavailable, Unsupported
from spamcannibal.events import EventLog
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED, Cause
from spamcannibal.store.stores import Hearsay, NewListing
from storekit import open_store

NOW = 1_700_000_000.0


def listing(text, flags=PUBLISHED, said="", **given):
    return NewListing(parse_key(text), text=said, source="test", flags=flags, **given)


@pytest.fixture
def store(tmp_path):
    made = open_store(tmp_path / "store")
    made.list([listing("10.0.0.0/24"), listing("10.0.0.9", EXCLUDED), listing("2001:db8::/64", said="own $")], NOW)
    made.list([listing("10.2.0.1", 0, contrib=Hearsay((Cause("bl.example", bytes((127, 0, 0, 4))),)))], NOW)
    yield made
    made.close()


# Files.


def inside(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "list"
    path.write_text("old\n")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    assert files.replace(link, ["new", "\u00e9\n"]) == (6, True)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == ("new\u00e9\n", 0o640, True)
    assert inside(tmp_path) == ["link", "list"]


def test_the_same_content_leaves_the_file_alone(tmp_path):
    path = tmp_path / "list"
    files.replace(path, ["same\n"])
    before = path.stat()
    assert files.replace(path, ["sa", "me\n"]) == (5, False)
    assert path.stat().st_ino == before.st_ino
    assert inside(tmp_path) == ["list"]


def test_an_export_that_fails_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "list"
    path.write_text("old\n")

    def failing():
        yield "new\n"
        raise StoreError("gone")

    with pytest.raises(StoreError):
        files.replace(path, failing())
    assert (path.read_text(), inside(tmp_path)) == ("old\n", ["list"])


def test_a_full_disk_is_told_and_leaves_the_old_file():
    with pytest.raises(Unavailable, match="No such file"):
        files.replace(Path("/nonexistent/directory/list"), ["new"])


def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "li[s]t"

    def interrupted():
        yield "half"
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        files.replace(path, interrupted())
    os.waitpid(pid, 0)
    assert [name.endswith(".tmp") for name in inside(tmp_path)] == [True]

    def meanwhile():
        yield "slow "
        files.replace(path, ["quick"])
        yield "writer"

    files.replace(path, meanwhile())
    assert (path.read_text(), inside(tmp_path)) == ("slow writer", [path.name])


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo], ids=["directory", "pipe"])
def test_only_a_regular_file_is_replaced(tmp_path, make):
    make(tmp_path / "odd")
    with pytest.raises(ConfigError, match="no regular file"):
        files.replace(tmp_path / "odd", ["new"])


# Pace.


def test_the_first_export_is_due_at_once_and_then_only_after_a_change():
    pace = Pace(2.0)
    assert pace.is_due(0.0)
    pace.done(1.0, 0.0)
    assert not pace.is_due(100.0)


def test_an_export_waits_for_quiet_but_not_for_ever():
    pace = Pace(2.0)
    pace.done(0.0, 0.0)
    due = []
    for tick in range(100):
        pace.changed(tick)
        if pace.is_due(tick):
            due.append(tick)
            pace.done(tick, 0.0)
    assert due == list(range(20, 100, 21))
    pace.changed(100)
    assert not pace.is_due(101)
    assert pace.is_due(102)
    assert LONGEST_FACTOR == 10


def test_a_slow_export_takes_a_fifth_of_the_time():
    pace = Pace(0.0)
    pace.done(100.0, 10.0)
    pace.changed(101.0)
    assert not pace.is_due(139.0)
    assert pace.is_due(140.0)


def test_the_wait_after_failures_doubles_up_to_its_limit_and_starts_again():
    pace = Pace(1.0)
    waits = [pace.failed(float(at)) for at in range(10)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert not pace.is_due(9 + RETRY_LIMIT_S - 1)
    assert pace.is_due(9 + RETRY_LIMIT_S)
    pace.done(70.0, 0.0)
    assert pace.failed(71.0) == 1


# Following.


class Lines:
    """A stream that keeps what is written."""

    def __init__(self):
        self.lines = []

    def write(self, text):
        self.lines.append(text)

    def flush(self):
        pass


def exporter(store, job, **given):
    said = Lines()
    return Export(store, job, EventLog(said), settle_s=0.0, **given), said.lines


def test_a_followed_file_has_each_change_and_is_left_alone_without_one(store, tmp_path):
    path = tmp_path / "plain"
    export, said = exporter(store, Job("plain", refused, FACTS, path))
    assert export.turn(1.0).mode == "full"
    assert path.read_text() == "10.0.0.0/24\n!10.0.0.9\n10.2.0.1\n2001:db8::/64\n"
    assert export.turn(1000.0) is None
    store.unlist([parse_key("10.2.0.1")], "test", "", NOW)
    assert export.turn(2000.0).seq == store.last_seq()
    assert "10.2.0.1" not in path.read_text()
    assert (
        said[0] == f"EXPORT format=plain to={path} result=full seq=4 entries=4 bytes=45 took_s={said[0].split('=')[-1]}"
    )


def test_a_zone_holds_what_it_publishes_only(store, tmp_path):
    path = tmp_path / "zone"
    Export(store, Job("ip4trie", published(False), FACTS, path)).full()
    assert "10.2.0.1" not in path.read_text()
    Export(store, Job("ip4trie", published(True), FACTS, path)).full()
    assert "\n10.2.0.1 :127.0.0.3:" in path.read_text() or "\n10.2.0.1 :127.0.0.4:" in path.read_text()


def test_the_command_runs_after_a_change_and_again_until_it_works(store, tmp_path):
    path, ran, broken = tmp_path / "plain", tmp_path / "ran", tmp_path / "broken"
    broken.touch()
    script = f'test ! -e "{broken}" && echo ran >>"{ran}"'
    export, said = exporter(store, Job("plain", refused, FACTS, path, ("/bin/sh", "-c", script)))
    assert export.turn(1.0) is None
    assert "result=failed" in said[-1] and "exit 1" in said[-1] and "retry_s=1.0" in said[-1]
    assert export.turn(1.5) is None
    assert len(said) == 1
    broken.unlink()
    assert export.turn(3.0).is_changed is False
    assert ran.read_text() == "ran\n"
    store.list([listing("10.9.9.9")], NOW)
    export.turn(1000.0)
    assert ran.read_text() == "ran\nran\n"


def test_a_consumer_that_is_not_there_costs_a_line(store, tmp_path):
    export, said = exporter(store, Job("plain", refused, FACTS, tmp_path / "plain", ("/nonexistent/reload",)))
    assert export.turn(1.0) is None
    assert "can't run /nonexistent/reload" in said[0]
    with pytest.raises(Unsupported):
        kernel.run(["/nonexistent/reload"])


class FakeKernel:
    """Takes scripts in the packet filter's place: the real one is in t/live."""

    def __init__(self, monkeypatch):
        self.scripts = []
        self.fails = False
        monkeypatch.setattr(kernel, "feed", self.feed)

    def feed(self, argv, chunks):
        if self.fails:
            raise Unavailable("no")
        self.scripts.append("".join(chunks))
        return len(self.scripts[-1])


def test_the_kernel_gets_deltas_and_everything_after_a_failure(store, monkeypatch):
    filter_ = FakeKernel(monkeypatch)
    export, _ = exporter(store, Job("nft", refused, FACTS))
    assert export.turn(1.0).mode == "full"
    store.list([listing("10.3.0.1")], NOW)
    store.unlist([parse_key("10.0.0.9")], "test", "", NOW)
    assert export.turn(1000.0).mode == "delta"
    assert "flush" not in filter_.scripts[-1]
    assert "hosts4 { 10.3.0.1" in filter_.scripts[-1]
    assert "add element inet spamcannibal_list nets4 { 10.0.0.0/24 }" in filter_.scripts[-1]
    filter_.fails = True
    store.list([listing("10.3.0.2")], NOW)
    assert export.turn(2000.0) is None
    filter_.fails = False
    assert export.turn(3000.0).mode == "full"
    assert "10.3.0.2" in filter_.scripts[-1]


def test_a_journal_that_does_not_connect_means_everything_anew(store, monkeypatch):
    filter_ = FakeKernel(monkeypatch)
    export, _ = exporter(store, Job("ipset", refused, FACTS))
    export.full()
    export.seq = 999
    assert export.turn(1.0).mode == "full"
    assert export.seq == store.last_seq()
    assert len(filter_.scripts) == 2


def test_what_a_consumer_may_have_lost_is_exported_anew(store, monkeypatch):
    filter_ = FakeKernel(monkeypatch)
    export, _ = exporter(store, Job("nft", refused, FACTS))
    export.turn(1.0)
    assert export.is_current and export.turn(1000.0) is None
    export.renew()
    assert not export.is_current
    assert export.turn(2000.0).mode == "full" and export.is_current
    assert filter_.scripts[0] == filter_.scripts[1]


def test_another_store_in_the_place_of_ours_ends_it(store, tmp_path):
    export, _ = exporter(store, Job("plain", refused, FACTS, tmp_path / "plain"))
    assert export.turn(1.0).mode == "full"
    (tmp_path / "store").rename(tmp_path / "old")
    assert export.turn(1000.0) is None and not export.is_current
    with open_store(tmp_path / "store").env, pytest.raises(Replaced):
        export.turn(2000.0)


# Figures.


def parsed(text):
    parser = pytest.importorskip("prometheus_client.parser")
    return {
        (sample.name.removeprefix(outlet.PREFIX), sample.labels["outlet"], sample.labels.get("kind")): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


ODD = 'plain:/a "b"\\c\nd'


def test_figures_are_what_prometheus_reads_whatever_the_outlets_name():
    drift = Drift(expected=5, held=4, missing=2, surplus=1)
    assert parsed(outlet.checked(ODD, drift, 12.5)) == {
        ("checked_timestamp_seconds", ODD, None): 12.5,
        ("expected_entries", ODD, None): 5,
        ("held_entries", ODD, None): 4,
        ("drift_entries", ODD, "missing"): 2,
        ("drift_entries", ODD, "surplus"): 1,
        ("drift_entries", ODD, "differs"): 0,
    }
    assert parsed(outlet.followed(ODD, 7.25, -1, Counter(exports=3))) == {
        ("last_success_timestamp_seconds", ODD, None): 7.25,
        ("serial", ODD, None): 0,
        ("exports_total", ODD, None): 3,
        ("failures_total", ODD, None): 0,
    }


def test_following_and_checking_have_no_metric_in_common():
    names = [
        {name for name, *_ in parsed(text)}
        for text in (outlet.followed("o", 0, 0, Counter()), outlet.checked("o", Drift(), 0))
    ]
    assert not names[0] & names[1]


def test_the_figures_of_an_export_tell_when_it_last_had_all(store, tmp_path):
    path, prom = tmp_path / "plain", tmp_path / "x.prom"
    job = Job("plain", refused, FACTS, path)
    export, said = exporter(store, job)
    figures = Figures(export, outlet_name(job), prom, EventLog(Lines()))
    figures.turn()  # nothing exported yet
    first = {name: value for (name, *_), value in parsed(prom.read_text()).items()}
    assert (first["last_success_timestamp_seconds"], first["serial"]) == (0, 0)
    export.turn(1.0)
    figures.turn()
    figures.write()
    done = {name: value for (name, *_), value in parsed(prom.read_text()).items()}
    assert done["last_success_timestamp_seconds"] > NOW and done["serial"] == store.last_seq()
    path.unlink()
    path.mkdir()  # it can't be replaced
    store.list([listing("10.9.9.9")], NOW)
    assert export.turn(1000.0) is None and "result=failed" in said[-1]
    figures.turn()
    figures.write()
    failed = {name: value for (name, *_), value in parsed(prom.read_text()).items()}
    assert failed["last_success_timestamp_seconds"] == done["last_success_timestamp_seconds"]
    assert (failed["exports_total"], failed["failures_total"]) == (1, 1)


def test_figures_that_cannot_be_written_are_told_once_and_harm_nothing(store, tmp_path):
    log = Lines()
    export, _ = exporter(store, Job("plain", refused, FACTS, tmp_path / "plain"))
    figures = Figures(export, "o", tmp_path / "nowhere" / "x.prom", EventLog(log))
    export.turn(1.0)
    for _ in range(3):
        figures.write()
    assert len(log.lines) == 1 and "METRICS file=" in log.lines[0] and "No such file" in log.lines[0]


def test_a_store_that_fails_costs_a_line_and_is_read_again(store, tmp_path, monkeypatch):
    export, said = exporter(store, Job("plain", refused, FACTS, tmp_path / "plain"))

    def failing():
        raise StoreError("recovering")

    with monkeypatch.context() as patched:
        patched.setattr(store, "last_seq", failing)
        assert export.turn(1.0) is None
    assert "error=recovering" in said[0]
    assert export.turn(5.0).mode == "full"


# Samples of a server.


def test_a_sample_is_repeatable_and_no_larger_than_asked():
    entries = list(range(1000))
    first = sample.choose(entries, 10, seed=3)
    assert first == sample.choose(iter(entries), 10, seed=3) != sample.choose(entries, 10, seed=4)
    assert len(set(first)) == 10
    assert sample.choose(entries[:3], 10, seed=3) == entries[:3]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("10.0.0.1", "127.0.0.2"), ("10.0.0.9", ""), ("10.2.0.1", ""), ("10.0.1.0", ""), ("2001:db8::7", "127.0.0.2"),
        ("127.0.0.2", "127.0.0.2"), ("127.0.0.1", ""),
    ],
)  # fmt: skip
def test_the_expected_answer_is_that_of_the_longest_shown_entry(store, text, code):
    assert sample.expected_code(store, published(False), PROVEN_CODE, parse_addr(text)) == code


# The command.


@pytest.fixture
def run(store, tmp_path):
    config = tmp_path / "spamcannibal.toml"
    config.write_text(f'store.path = "{tmp_path / "store"}"\n[[dnsbl.zone]]\nname = "bl.example.org"\n')

    def command(*argv):
        return CliRunner().invoke(cli, ["-c", str(config), "export", *map(str, argv)])

    return command


def test_an_export_goes_to_standard_output(run):
    assert run("exim").output == "!10.0.0.9\n10.0.0.0/24\n10.2.0.1\n2001:db8::/64\n"
    assert run("plain", "--what", "published").output == "10.0.0.0/24\n!10.0.0.9\n2001:db8::/64\n"


def test_an_export_goes_into_a_file_and_says_so(run, tmp_path):
    path = tmp_path / "out"
    row = json.loads(run("csv", "-o", path, "--json").output)[0]
    assert row == {
        "format": "csv",
        "to": str(path),
        "entries": 4,
        "bytes": path.stat().st_size,
        "changed": "yes",
        "seq": 4,
    }
    assert json.loads(run("csv", "-o", path, "--json").output)[0]["changed"] == "no"


def test_a_dry_run_counts_and_writes_nothing(run, tmp_path):
    path = tmp_path / "out"
    row = json.loads(run("bind", "-o", path, "--dry-run", "--json").output)[0]
    assert not path.exists()
    run("bind", "-o", path)
    assert (row["entries"], row["bytes"]) == (3, path.stat().st_size)


def test_drift_is_shown_and_is_exit_code_1(run, store, tmp_path):
    path = tmp_path / "out"
    run("postfix", "-o", path)
    assert run("postfix", "-o", path, "--check-drift").exit_code == 0
    path.write_text(path.read_text().replace("10.2.0.1/32", "10.2.0.2/32"))
    done = run("postfix", "-o", path, "--check-drift", "--json")
    row = json.loads(done.output)[0]
    assert (done.exit_code, row["missing"], row["surplus"], row["differs"]) == (1, 1, 1, 0)
    assert row["shown"] == [
        {"difference": "surplus", "entry": "10.2.0.2/32"},
        {"difference": "missing", "entry": "10.2.0.1/32"},
    ]
    assert "10.2.0.2/32" in run("postfix", "-o", path, "--check-drift").output
    prom = tmp_path / "drift.prom"
    assert run("postfix", "-o", path, "--check-drift", "--metrics", prom).exit_code == 1
    told = parsed(prom.read_text())
    assert [told["drift_entries", f"postfix:{path}", kind] for kind in ("missing", "surplus", "differs")] == [1, 1, 0]
    assert (told["expected_entries", f"postfix:{path}", None], told["held_entries", f"postfix:{path}", None]) == (4, 4)


@pytest.mark.parametrize("name", ["ip4set", "combined", "bind", "rpz", "nft", "ipset", "exim", "plain", "csv", "jsonl"])
def test_every_file_is_compared_with_the_list(run, store, tmp_path, name):
    path = tmp_path / "out"
    run(name, "-o", path)
    assert run(name, "-o", path, "--check-drift").exit_code == 0
    store.list([listing("10.200.0.1")], NOW)
    assert run(name, "-o", path, "--check-drift").exit_code == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("bind", "--what", "refused"), ("plain", "--load"), ("nft", "-o", "x", "--load"), ("plain", "--follow"),
        ("plain", "--run", "true"), ("plain", "--json"), ("plain", "--check-drift"),
        ("nft", "--server", "127.0.0.1:53"), ("plain", "-o", "x", "--metrics", "y"),
        ("nft", "--table", "a b"), ("ipset", "--table", "x" * 26), ("nonsense",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_contradictions_are_usage_errors(run, argv):
    assert run(*argv).exit_code == 2


def test_an_unknown_zone_names_the_known_ones(run):
    done = run("bind", "--zone", "nowhere.example")
    assert "bl.example.org" in str(done.exception)
    assert format_addr(parse_addr("10.2.0.1")) in run("plain").output


def test_a_colour_has_a_zone_of_its_own(store, run, tmp_path):
    config = tmp_path / "spamcannibal.toml"
    config.write_text(config.read_text() + 'colours = ["white", "brown"]\n')
    white = COLOURS["white"]
    store.list([listing("192.0.2.7", white.flags, code=white.code)], NOW)
    lines = run("ip4trie", "--zone", "white.bl.example.org").output.splitlines()
    assert lines[3:] == [":127.0.0.1:$ is listed for sending spam", "127.0.0.2", "192.0.2.7"]
    assert "\n!192.0.2.7\n" in run("ip4trie").output
    assert "192.0.2.7" not in run("ip4trie", "--zone", "brown.bl.example.org").output


def test_a_zone_in_its_sunset_lists_nothing(run, tmp_path):
    config = tmp_path / "spamcannibal.toml"
    config.write_text(config.read_text() + "sunset = true\n")
    assert "10.0.0" not in run("bind").output
    assert "\n2.0.0.127 A 127.0.0.2\n" in run("bind").output
