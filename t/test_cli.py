"""The command line as a user meets it: help, slips, exit codes, output for people and for machines."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from spamcannibal import __version__, neverfile
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import COMMANDS, common, main
from spamcannibal.errors import ConfigError, NeverListed, StoreError, Unavailable
from spamcannibal.settings import Settings
from spamcannibal.settings.base import StoreSettings
from spamcannibal.store.batch import NewListing

LIB = Path(__file__).parent.parent / "lib"


def run(*args):
    return CliRunner().invoke(main.cli, args, prog_name="spamcannibal")


def spawn(*args, env=None, cwd=None):
    """Run the real command in its own process."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LIB), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "spamcannibal", *args], capture_output=True, text=True, env=env, cwd=cwd, check=False
    )


def test_help_lists_every_subcommand_with_its_line():
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, line) in COMMANDS.items():
        assert any(shown.split()[:1] == [name] and line.split()[0] in shown for shown in result.output.splitlines())
    assert "Examples:" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_loads_and_explains_itself(name):
    result = run(name, "-h")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: spamcannibal {name} ")


@pytest.mark.parametrize(("slip", "want"), [("lsit", "list"), ("tarpti", "tarpit"), ("conf", "config")])
def test_an_unknown_subcommand_suggests_the_nearest(slip, want):
    result = run(slip)
    assert result.exit_code == 2
    assert f"no such command '{slip}', did you mean {want}?" in result.stderr


def test_a_far_off_subcommand_lists_what_there_is():
    result = run("\x1b[2Jxyzzy")
    assert result.exit_code == 2
    assert "want one of " + ", ".join(COMMANDS) in result.stderr
    assert "\x1b" not in result.stderr


def test_python_m_is_the_command():
    done = spawn("--version")
    assert (done.returncode, done.stdout) == (0, f"spamcannibal {__version__}\n")


def test_an_error_is_one_line_on_stderr_with_the_exit_code_of_its_class(tmp_path):
    done = spawn("-c", str(tmp_path / "no\nne.toml"), "config", "show")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("spamcannibal: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("error", [ConfigError("a\nb"), StoreError("a\x1bb"), Unavailable("a\tb")])
def test_every_error_class_sets_the_exit_code(error, monkeypatch, capsys):
    def fail(**_):
        raise error

    monkeypatch.setattr(main, "cli", fail)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == error.exit_code
    assert capsys.readouterr().err == "spamcannibal: a b\n"


def test_the_environment_chooses_the_settings(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("tarpit.mode = 'drop'")
    done = spawn("config", "show", "--json", env={"SPAMCANNIBAL_CONFIG": str(path)})
    assert json.loads(done.stdout)["tarpit"]["mode"] == "drop"


def test_log_format_overrides_the_settings(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("")
    context = main.cli.make_context("spamcannibal", ["-c", str(path), "--log-format", "json", "up"])
    assert common.load_settings(context).log.format == "json"


ROWS = [
    {"key": parse_key("2001:db8::/64"), "count": 12, "text": "plain", "more": [1, 2]},
    {"key": parse_addr("1.2.3.4"), "count": None, "text": "evil \x1b[31m [bold]x[/]\n\tü", "more": []},
]


def test_piped_rows_are_aligned_text_that_no_value_can_break(capsys):
    common.emit(ROWS, ["key", "count", "text"], title="Listings")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "key            count  text",
        "2001:db8::/64  12     plain",
        "1.2.3.4        -      evil \\x1b[31m [bold]x[/]\\n\\tü",
    ]


def test_no_rows_print_the_column_names_alone(capsys):
    common.emit([], ["key", "count"])
    assert capsys.readouterr().out == "key  count\n"


def test_json_rows_hold_every_key(capsys):
    common.emit(ROWS, ["key"], as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"key": "2001:db8::/64", "count": 12, "text": "plain", "more": [1, 2]}
    assert second["count"] is None and second["text"] == ROWS[1]["text"]


def on_terminal(code):
    """What a real pseudo-terminal gets from the code."""
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LIB), "COLUMNS": "80", "TERM": "xterm", "LANG": "C.UTF-8"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(ours)
    return process.returncode, b"".join(chunks).decode()


def test_a_terminal_gets_a_table_in_which_no_value_is_markup():
    code, shown = on_terminal(
        "from spamcannibal.commands.common import emit\n"
        "emit([{'key': b'\\1\\2\\3\\4', 'text': '[bold]x[/] \\x1b[2J'}], ['key', 'text'], title='Listings')"
    )
    assert code == 0
    assert all(part in shown for part in ("Listings", "1.2.3.4", "[bold]x[/]", "\\x1b[2J"))
    assert "\x1b[2J" not in shown


def test_a_terminal_sees_progress_and_a_pipe_does_not(capsys):
    code, shown = on_terminal(
        "from spamcannibal.commands.common import progress\n"
        "with progress(10, 'loading') as step:\n    step(10)"
    )  # fmt: skip
    assert code == 0 and "loading" in shown
    with common.progress(10, "loading") as step:
        step(10)
    assert capsys.readouterr() == ("", "")


def settings_with(tmp_path, never_list, **guard):
    (tmp_path / "never-list").write_text(never_list)
    kinds = {"never_list": str(tmp_path / "never-list"), **guard}
    return Settings(guard=type(Settings().guard)(**kinds))


def test_the_guard_is_read_when_a_writer_asks(tmp_path):
    guard = neverfile.LazyGuard(settings_with(tmp_path, "@private\n@own\n", own_names=("127.9.9.9",)))
    guard.check(parse_addr("192.0.2.1"))
    for text in ("10.1.2.3", "127.0.0.1", "127.9.9.9"):
        with pytest.raises(NeverListed):
            guard.check(parse_addr(text))


def test_the_opened_store_is_guarded_by_the_never_list(tmp_path):
    (tmp_path / "db").mkdir()
    settings = settings_with(tmp_path, "@private\n")
    settings = msgspec.structs.replace(settings, store=StoreSettings(path=str(tmp_path / "db"), cache_bytes=1 << 20))
    store = common.open_store(settings)
    try:
        allowed, forbidden = (NewListing(parse_key(text), source="test") for text in ("1.2.3.4", "10.0.0.0/7"))
        assert store.list([allowed], 1.0) == [1]
        with pytest.raises(NeverListed):
            store.list([forbidden], 1.0)
    finally:
        store.close()


def test_nothing_is_listed_without_a_never_list(tmp_path):
    settings = settings_with(tmp_path, "")
    (tmp_path / "never-list").unlink()
    guard = neverfile.LazyGuard(settings)
    for _ in range(2):
        with pytest.raises(ConfigError, match="can't read"):
            guard.check(parse_addr("192.0.2.1"))


def test_nothing_is_listed_while_an_own_name_has_no_address(tmp_path):
    # A name that no resolver is ever asked for: a label may hold 63 bytes.
    guard = neverfile.LazyGuard(settings_with(tmp_path, "@own\n", own_names=("x" * 70 + ".invalid",)))
    with pytest.raises(Unavailable, match=r"guard\.own_names"):
        guard.check(parse_addr("192.0.2.1"))


def test_the_hosts_own_addresses_are_its_loopback_at_least():
    assert parse_addr("127.0.0.1") in set(neverfile.host_addresses())


def test_a_kernel_without_a_protocol_has_no_addresses_of_it(tmp_path):
    assert list(neverfile.host_addresses(tmp_path)) == []
    (tmp_path / "if_inet6").write_text("00000000000000000000000000000001 01 80 10 80 lo\n")
    assert list(neverfile.host_addresses(tmp_path)) == [parse_addr("::1")]


@pytest.mark.parametrize("text", ["plain", "ü", "\x1b[2J", "\u202e", "a\nb", "\ud800"])
def test_printable_text_is_printable_and_keeps_what_was(text):
    shown = common.printable(text)
    assert shown.isprintable()
    assert shown == text or "\\" in shown


def test_output_to_a_closed_pipe_is_not_a_traceback():
    code = f"import sys; sys.path.insert(0, {str(LIB)!r}); from spamcannibal.commands.main import main; main()"
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" config show | true', sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
