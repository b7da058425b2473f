"""`spamcannibal list import`, `find` and `diff` as their users meet them: real settings, a real store, exit codes."""

import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main
from spamcannibal.record import EXCLUDED, HEARSAY_CODE, PROVEN_CODE, PUBLISHED, SHADOW
from spamcannibal.store.stores import NewListing
from spamcannibal.store.timeline import seq_at
from storekit import check_whole, open_store

LINES = "192.0.2.1 # a $\nnonsense\n198.51.100.7\n!192.0.2.9\n203.0.113.0/24\n2001:db8:5::1\n"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "never-list").write_text("198.51.100.0/24\n@special\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text(f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\n')
    return path


@pytest.fixture
def run(settings):
    def call(*args, stdin=""):
        result = CliRunner().invoke(main.cli, ["-c", str(settings), "list", *map(str, args)], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def row(result):
    (found,) = json.loads(result.stdout)
    return found


def test_an_import_lists_what_it_can_and_tells_the_rest_by_line(run, store):
    store.archive([(parse_addr("192.0.2.1"), 1, 5000, 6000)])
    result = run("import", "-", "--as", "friends", "--expires", "30d", "--json", stdin=LINES)
    told = row(result)
    assert (result.exit_code, told["listed"], told["broken"], told["refused"], told["contacts"]) == (4, 4, 1, 1, 1)
    assert "line 2: not an address" in result.stderr
    assert "line 3: 198.51.100.7 must never be listed" in result.stderr
    listings = dict(store.page("tarpit", None, 9))
    assert {key: listing.flags for key, listing in listings.items()} == {
        parse_key("192.0.2.1"): 0,
        parse_key("192.0.2.9"): EXCLUDED,
        parse_key("203.0.113.0/24"): 0,
        parse_key("2001:db8:5::/64"): 0,
    }
    assert all(listing.expiry_ms and listing.code == HEARSAY_CODE for listing in listings.values())
    (cause,) = store.contrib(parse_key("192.0.2.1")).causes
    assert (cause.zone, cause.text) == ("friends", "a $$")
    assert store.change(1).source == "import:friends"
    check_whole(store)


def test_what_is_ours_is_published_as_proven(run, store):
    run("import", "-", "--proven", "--shadow", "--mode", "drop", stdin="192.0.2.1\n")
    listing = store.get_key(parse_key("192.0.2.1"))
    assert (listing.code, listing.flags, listing.mode.name) == (PROVEN_CODE, PUBLISHED | SHADOW, "DROP")
    assert store.change(1).source == "import:-"


def test_again_changes_nothing_and_a_dry_run_even_less(run, store):
    assert row(run("import", "-", "--dry-run", "--json", stdin=LINES))["listed"] == 4
    assert store.last_seq() == 0
    run("import", "-", stdin=LINES)
    assert row(run("import", "-", "--json", stdin=LINES))["same"] == 4
    assert row(run("import", "-", "--json", "--as", "x", stdin="192.0.2.1 # other\n"))["changed"] == 1
    assert store.last_seq() == 5


def test_our_own_json_export_comes_back(run, store, settings):
    run("import", "-", "--proven", stdin="192.0.2.1 # one\n203.0.113.0/24\n")
    text = CliRunner().invoke(main.cli, ["-c", str(settings), "export", "jsonl"]).stdout
    settings.write_text(settings.read_text().replace("/store", "/other"))
    assert row(run("import", "-", "--proven", "--json", stdin=text))["listed"] == 2
    result = CliRunner().invoke(main.cli, ["-c", str(settings), "export", "plain"])
    assert result.stdout == "192.0.2.1\n203.0.113.0/24\n"


def test_interrupted_it_ends_between_transactions_and_goes_on_when_run_again(settings, store, tmp_path):
    feed = tmp_path / "feed"
    feed.write_text("".join(f"9.{i >> 16}.{i >> 8 & 255}.{i & 255}\n" for i in range(1, 200_001)))
    command = [sys.executable, "-m", "spamcannibal", "-c", settings, "list", "import", feed, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and store.counts()["tarpit"] == 0:
        pass
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    (first,) = json.loads(stdout)
    assert (process.returncode, first["whole"], "run it again" in stderr) == (4, False, True)
    assert 0 < first["listed"] == store.counts()["tarpit"] < 200_000
    assert first["listed"] % 1000 == 0
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (second,) = json.loads(done.stdout)
    assert second["whole"] and second["listed"] + first["listed"] == store.counts()["tarpit"] == 200_000


def test_what_has_expired_is_not_listed(run, store):
    result = run("import", "-", "--as", "old", "--json", stdin='{"ip": "192.0.2.1", "expiry_ms": 86400000}\n')
    assert (result.exit_code, row(result)["refused"], store.last_seq()) == (4, 1, 0)
    assert "line 1: 192.0.2.1 expired 1970-01-02" in result.stderr


@pytest.mark.parametrize("lines", [b"203.0.113.7\n", b"nonsense\n" * 1000])
def test_interrupted_while_it_waits_for_more_it_ends_at_once(settings, store, lines):
    command = [sys.executable, "-m", "spamcannibal", "-c", settings, "list", "import", "-", "--format", "plain"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b"nonsense\n" + lines)
        process.stdin.flush()
        assert b"line 1: not an address" in process.stderr.readline()
        process.send_signal(signal.SIGINT)  # its input stays open
        assert process.wait(60) == 4
        assert b"run it again to go on" in process.stderr.read()
    assert store.counts()["tarpit"] == 0


def test_find_takes_all_that_is_asked_together(run, store):
    keys = [parse_key(text) for text in ("192.0.2.0", "192.0.2.1", "192.0.2.255", "192.0.3.0", "192.0.2.0/24")]
    for number, key in enumerate(keys):
        text = "Trap" if number % 2 else "other"
        store.list([NewListing(key, text=text, source=f"gather:{number}", flags=PUBLISHED)], 1000.0 + number)

    def found(*args):
        return [entry["key"] for entry in json.loads(run("find", "--json", *args).stdout)]

    assert found("--within", "192.0.2.0/24") == ["192.0.2.0", "192.0.2.0/24", "192.0.2.1", "192.0.2.255"]
    assert found("--within", "192.0.2.1") == ["192.0.2.1"]
    assert found("--within", "192.0.2.128/25", "--text", "OTHER") == ["192.0.2.255"]
    assert found("--text", "trap", "--source", "gather:*") == ["192.0.2.1", "192.0.3.0"]
    assert found("--source", "gather:4") == ["192.0.2.0/24"]
    assert found("--since", "#4") == ["192.0.2.0/24", "192.0.3.0"]
    assert found("--until", "#1") == ["192.0.2.0"]
    assert found("--code", "127.0.0.2", "--flag", "published", "--limit", "2") == ["192.0.2.0", "192.0.2.0/24"]
    assert "3 more" in run("find", "--limit", "2").stderr
    assert run("find", "--flag", "shadow").exit_code == 1
    assert run("find", "--since", "#99").exit_code == 2
    assert run("find", "--since", "1h", "--until", "2h").exit_code == 2
    assert run("find", "--since", "tomorrow").exit_code == 2


def test_within_works_at_the_ends_of_the_address_space(run, store):
    keys = ["1.0.0.0", "0.0.0.0", "255.255.255.255", "ffff::/64", "::/64"]
    store.guard = type("Nobody", (), {"check": lambda self, key: None})()
    store.list([NewListing(parse_key(text)) for text in keys], 1.0)

    def found(prefix):
        return [entry["key"] for entry in json.loads(run("find", "--json", "--within", prefix).stdout)]

    assert found("0.0.0.0/0") == ["0.0.0.0", "1.0.0.0", "255.255.255.255"]
    assert found("255.255.255.0/24") == ["255.255.255.255"]
    assert found("::/0") == ["::/64", "ffff::/64"]
    assert found("0.0.0.0/8") == ["0.0.0.0"]


def test_diff_shows_what_differs_and_not_what_came_and_went(run, store):
    a, b, c, d = (parse_key(f"192.0.2.{i}") for i in range(4))
    store.list([NewListing(a, text="a"), NewListing(b, text="b")], 1000.0)
    store.list([NewListing(c), NewListing(d)], 2000.0)  # 3, 4
    store.unlist([c, a], "admin:x", "gone", 3000.0)  # 5, 6
    store.list([NewListing(b, text="B")], 4000.0)  # 7
    store.list([NewListing(a, text="a")], 5000.0)  # 8: as it was
    result = run("diff", "#2", "--json")
    assert [(r["key"], r["change"], r["seq"]) for r in json.loads(result.stdout)] == [
        ("192.0.2.3", "listed", 4),
        ("192.0.2.1", "changed", 7),
    ]
    assert result.exit_code == 1
    assert [r["change"] for r in json.loads(run("diff", "#4", "#6", "--json").stdout)] == ["unlisted", "unlisted"]
    assert run("diff", "#7", "#7").exit_code == 0
    assert "and 1 more; see --limit" in run("diff", "#2", "--limit", "1", "--json").stderr
    assert "1 listed, 0 unlisted, 1 changed by changes 3 to 8" in run("diff", "1970-01-01T00:20:00").stderr


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (("#2", "#1"), "later than the second"),
        (("1h", "2h"), "later than the second"),
        (("2999-01-01",), "later than the second"),
        (("#1", "1970-01-01"), "later than the second"),
        (("#3",), "the journal has no change number 3; its last is 2"),
        (("#1", "#99"), "the journal has no change number 99; its last is 2"),
    ],
)
def test_diff_between_times_that_are_none_is_wrong_usage(run, store, times, said):
    store.list([NewListing(parse_key("192.0.2.1"))], 1000.0)
    store.list([NewListing(parse_key("192.0.2.2"))], 2000.0)
    result = run("diff", *times, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in " ".join(result.stderr.split())
    assert run("diff", "#1", "2999-01-01").exit_code == 1


@pytest.mark.parametrize("content", ["", "\n \n", "# nothing today\n", '{"type":"metadata","size":0}\n', "; empty\n"])
def test_a_feed_that_names_nothing_changes_nothing_and_says_so(run, store, content):
    store.list([NewListing(parse_key("192.0.2.1"), source="import:drop")], 1000.0)
    result = run("import", "-", "--as", "drop", "--json", stdin=content)
    assert (result.exit_code, row(result)["listed"], store.last_seq()) == (1, 0, 1)
    assert "nothing to import: drop names no address" in result.stderr


def test_the_journal_is_found_by_time(store):
    for second in (10, 20, 20, 30):
        store.list([NewListing(parse_key(f"192.0.2.{store.last_seq()}"))], float(second))
    assert [seq_at(store, t) for t in (0, 9_999, 10_000, 19_999, 20_000, 29_999, 30_000, 1 << 50)] == [
        0, 0, 1, 1, 3, 3, 4, 4,
    ]  # fmt: skip
