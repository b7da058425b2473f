"""`spamcannibal list` and `spamcannibal db` as their users meet them: real settings, a real store, exit codes."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from spamcannibal.addr import parse_key
from spamcannibal.colours import COLOURS
from spamcannibal.commands import main
from spamcannibal.errors import AddrError, NeverListed, SpamCannibalError, StoreError, WireError
from spamcannibal.record import HEARSAY_CODE, PUBLISHED, Mode
from spamcannibal.store.stores import NewListing
from storekit import open_store


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "never-list").write_text("198.51.100.0/24\n@special\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\nevidence_limit_bytes = 300\n'
        f'[guard]\nnever_list = "{tmp_path}/never-list"\n'
    )
    return path


@pytest.fixture
def run(settings):
    def call(*args, stdin=""):
        result = CliRunner().invoke(main.cli, ["-c", str(settings), *map(str, args)], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


def rows(result):
    return json.loads(result.stdout)


def test_add_lists_with_all_that_is_asked_for(run, store, tmp_path):
    (tmp_path / "mail").write_bytes(b"Received: " + b"x" * 1000)
    result = run(
        "list", "add", "1.2.3.4", "--text", "spam", "--code", "127.0.0.3", "--mode", "stutter", "--expires", "30d",
        "--evidence", tmp_path / "mail", "--private", "--json",
    )  # fmt: skip
    assert rows(result) == [{"key": "1.2.3.4", "done": "listed", "seq": 1}]
    listing = store.get_key(parse_key("1.2.3.4"))
    assert (listing.code, listing.mode, listing.flags) == (HEARSAY_CODE, Mode.STUTTER, 0)
    assert listing.expiry_ms - listing.listed_ms == 30 * 86_400_000
    assert len(store.evidence(parse_key("1.2.3.4"))[0].body) == 300
    assert store.change(1).source.startswith("admin:")


def test_an_ipv6_address_is_listed_as_its_64_unless_a_length_is_given(run, store):
    run("list", "add", "2001:db8::5", "2001:db8:1::5/128")
    assert [key for key, _ in store.page("tarpit", None, 9)] == [parse_key("2001:db8::/64"), parse_key("2001:db8:1::5")]
    assert all(listing.flags == PUBLISHED for _, listing in store.page("tarpit", None, 9))


def test_add_says_what_was_so_already_and_what_changed(run):
    run("list", "add", "1.2.3.4", "--text", "a")
    assert rows(run("list", "add", "1.2.3.4", "--text", "a", "--json"))[0]["done"] == "already so"
    assert rows(run("list", "add", "1.2.3.4", "--text", "b", "--json"))[0] == {
        "key": "1.2.3.4",
        "done": "changed",
        "seq": 2,
    }


def test_many_are_read_from_standard_input(run, store):
    text = "# ours\n" + "\n".join(f"9.{i >> 8}.{i & 255}.1  # bad" for i in range(2500))
    assert len(rows(run("list", "add", "-", "--json", stdin=text))) == 2500
    assert store.counts()["tarpit"] == 2500


def test_a_device_that_is_written_to_stays_one_and_a_full_disk_is_one_line(run, settings, tmp_path):
    run("list", "add", "1.2.3.4")
    (tmp_path / "full").symlink_to("/dev/full")
    argv = [sys.executable, "-m", "spamcannibal", "-c", settings, "db", "dump", tmp_path / "full"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "spamcannibal: can't write the output: No space left on device\n")
    assert (tmp_path / "full").is_char_device()
    run("db", "dump", tmp_path / "dump")
    assert (tmp_path / "dump").read_text().count("\n") > 1


def test_a_dry_run_writes_nothing(run, store):
    run("list", "add", "1.2.3.4")
    assert rows(run("list", "add", "1.2.3.5", "--dry-run", "--json"))[0]["done"] == "listed"
    assert rows(run("list", "remove", "1.2.3.4", "--dry-run", "--json"))[0]["done"] == "removed"
    assert (store.counts()["tarpit"], store.last_seq()) == (1, 1)


def test_the_never_list_stops_all_of_it(run, store):
    with pytest.raises(NeverListed, match=r"198\.51\.100\.7 must never be listed"):
        run("list", "add", "1.2.3.4", "198.51.100.7")
    with pytest.raises(NeverListed):
        run("list", "add", "127.0.0.2", "--dry-run")
    assert store.counts()["tarpit"] == 0


@pytest.mark.parametrize(
    "args",
    [
        ("--expires", "soon", "1.2.3.4"),
        ("--expires", "0d", "1.2.3.4"),
        ("--expires", "36501d", "1.2.3.4"),
        ("--code", "10.0.0.1", "1.2.3.4"),
        ("--code", "127.0.0.1", "1.2.3.4"),
        ("--code", "::1", "1.2.3.4"),
        ("--mode", "kill", "1.2.3.4"),
        (),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2(run, args):
    assert run("list", "add", *args).exit_code == 2


@pytest.mark.parametrize("command", ["add", "remove", "show"])
def test_standard_input_without_addresses_is_told(run, command):
    with pytest.raises(SpamCannibalError, match="standard input names no address"):
        run("list", command, "-", stdin="# none\n")


def test_every_wrong_address_is_told(run):
    with pytest.raises(AddrError, match=r"010\.0\.0\.1.*1\.2\.3\.0/24"):
        run("list", "add", "010.0.0.1", "1.2.3.4/24")


def test_remove_takes_off_and_tells_what_was_not_there(run, store):
    run("list", "add", "1.2.3.4", "1.2.3.0/24")
    result = run("list", "remove", "1.2.3.4", "--reason", "sorry", "--json")
    assert (result.exit_code, rows(result)) == (0, [{"key": "1.2.3.4", "done": "removed", "seq": 3}])
    result = run("list", "remove", "1.2.3.4", "--json")
    assert (result.exit_code, rows(result)[0]["done"]) == (1, "not listed")
    assert store.change(3).text == "sorry"


def test_show_finds_what_covers_an_address_and_why(run):
    run("list", "add", "1.2.3.0/24", "--text", "bad net")
    result = run("list", "show", "1.2.3.77", "5.5.5.5", "--json")
    (row,) = rows(result)
    assert (result.exit_code, row["key"], row["text"], row["flags"]) == (1, "1.2.3.0/24", "bad net", ["published"])
    assert row["evidence"][0]["body"] == "bad net"
    assert [change["action"] for change in row["history"]] == ["list"]
    assert "5.5.5.5: not listed" in result.stderr
    assert run("list", "show", "1.2.3.0/24").exit_code == 0
    assert run("list", "show", "1.2.3.0/25").exit_code == 1


def test_show_pages_and_says_how_many_more(run, store):
    store.list([NewListing(bytes((1, 1, 1, i))) for i in range(50)], 1.0)
    result = run("list", "show", "--limit", "20", "--json")
    assert len(rows(result)) == 20
    assert "30 more" in result.stderr
    assert len(rows(run("list", "show", "--limit", "0", "--json"))) == 50


def test_plain_output_has_no_control_characters_of_outsiders(run):
    run("list", "add", "1.2.3.4", "--text", "a\x1b[2Jb\nc")
    result = run("list", "show")
    assert "\x1b" not in result.output
    assert len(result.stdout.splitlines()) == 2


def test_dump_and_load_by_command(run, tmp_path, store, settings):
    run("list", "add", "1.2.3.4", "--text", "spam")
    run("db", "dump", tmp_path / "dump")
    with pytest.raises(StoreError, match="not empty"):
        run("db", "load", tmp_path / "dump")
    settings.write_text(settings.read_text().replace("/store", "/other"))
    assert rows(run("db", "load", tmp_path / "dump", "--json"))[0]["listings"] == 1
    assert rows(run("list", "show", "--json"))[0]["key"] == "1.2.3.4"
    settings.write_text(settings.read_text().replace("/other", "/third"))
    (tmp_path / "cut").write_bytes((tmp_path / "dump").read_bytes()[:-30])
    with pytest.raises(WireError, match="cut"):
        run("db", "load", tmp_path / "cut")


def test_backup_and_check_by_command(run, tmp_path, store):
    run("list", "add", "1.2.3.4")
    assert rows(run("db", "backup", tmp_path / "copy", "--json"))[0]["bytes"] > 0
    assert run("db", "check").stdout.endswith("ok\n")
    assert rows(run("db", "check", "--json")) == []
    store.env.run(lambda txn: store.env.db("evidence").delete(parse_key("1.2.3.4"), txn))
    result = run("db", "check")
    assert (result.exit_code, "tarpit: 1.2.3.4: 0 reasons" in result.stdout) == (1, True)


def test_import_by_command_tells_what_it_left_out(run, tmp_path, store):
    from test_legacy import NOW, contrib, write

    old = tmp_path / "old"
    old.mkdir()
    write(old / "tarpit", {"1.1.1.1": int(NOW).to_bytes(4, "little"), "198.51.100.1": bytes(4)})
    write(old / "blcontrib", {"1.1.1.1": contrib()})
    result = run("db", "import", old, "--dry-run", "--json")
    assert (result.exit_code, rows(result)[0]["listed"], store.counts()["tarpit"]) == (1, 1, 0)
    result = run("db", "import", old)
    assert result.exit_code == 1
    assert "left out: 198.51.100.1" in result.stderr
    assert store.change(1).source == f"import:{old}"


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_codes_and_flags(run, store, colour):
    run("list", "add", "192.0.2.77", "--colour", colour)
    listing = store.get_key(parse_key("192.0.2.77"))
    assert (listing.code, listing.flags) == COLOURS[colour]
