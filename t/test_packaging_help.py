"""What is made of the commands' help: completion, in real shells on a terminal; manual pages, read by man."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from spamcannibal.commands import COMMANDS
from spamcannibal.commands.main import cli
from spamcannibal.commands.man import ALIASES
from spamcannibal.commands.manual import roff

BIN = Path(sys.executable).parent
# How each shell is started bare, and told where its completion is.
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {script}"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({folder} $fpath); autoload -U compinit; compinit -u -d {folder}/dump"),
    "fish": (["fish", "--no-config", "--interactive"], "source {script}"),
}


def program(*argv: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([BIN / "spamcannibal", *argv], capture_output=True, text=True, check=True, env=env)
    return done.stdout


def typed(argv: list[str], lines: list[str], wanted: str, home: Path) -> str:
    """Type lines into a shell on a terminal, return what is to be seen once it matches, or after 20 s."""
    env = {"HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "LANG": "C.UTF-8"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, env)
    try:
        os.write(terminal, "\n".join(lines).encode() + b"\n")
        seen, end = "", time.monotonic() + 20
        while not re.search(wanted, seen) and time.monotonic() < end:
            if select.select([terminal], [], [], 0.5)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        return seen
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_command_and_option(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    argv, setting = SHELLS[shell]
    script = tmp_path / ("_spamcannibal" if shell == "zsh" else "script")
    script.write_text(program("completion", shell))
    lines = [setting.format(script=script, folder=tmp_path), "spamcannibal expla\t--hel\t"]
    assert "Usage: spamcannibal explain" in typed(argv, lines, "Usage: spamcannibal explain", tmp_path)


def answered(line: str) -> list[str]:
    """What click answers bash for a line; the last word is the one to complete."""
    words = line.split(" ")
    told = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_SPAMCANNIBAL_COMPLETE": "bash_complete"}
    return [answer.partition(",")[2] for answer in program(env={**os.environ, **told}).splitlines()]


def test_every_command_is_offered_and_options_when_asked_for() -> None:
    assert set(answered("spamcannibal ")) >= set(COMMANDS)
    assert answered("spamcannibal exp") == ["explain", "export"]
    assert "--log-format" in answered("spamcannibal --")
    assert answered("spamcannibal list add --mode s") == ["stutter"]


def test_completing_a_command_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom spamcannibal.commands.main import cli\n"
        "try: cli(prog_name='spamcannibal')\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    told = {"COMP_WORDS": "spamcannibal ", "COMP_CWORD": "1", "_SPAMCANNIBAL_COMPLETE": "bash_complete"}
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "lib"), **told}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click.shell_completion" in loaded
    assert not loaded & {"msgspec", "rich", "tomllib", "socket", *(module for module, _ in COMMANDS.values())}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man") / "man8"
    program("man", "--all", str(folder), env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"})
    return folder


def below(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from below(click.Context(found, info_name=name, parent=ctx))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_tells_every_subcommand_and_option(name: str, pages: Path) -> None:
    text = (pages / f"spamcannibal-{name}.8").read_text("utf-8")
    top = click.Context(cli, info_name="spamcannibal")
    found = cli.get_command(top, name)  # type: ignore[attr-defined]
    for ctx in below(click.Context(found, info_name=name, parent=top)):
        if not isinstance(ctx.command, click.Group):
            assert roff(ctx.command_path) in text
        for param in ctx.command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert roff(param.opts[-1]) in text


def test_every_launcher_has_a_page_and_each_page_is_one(pages: Path) -> None:
    root = Path(__file__).parents[1]
    launchers = {path.name for path in (*root.glob("bin/db*"), *root.glob("bin/dnsbls"), *root.glob("*/sc_*"))}
    assert set(ALIASES) == launchers
    expected = {"spamcannibal", *launchers, *(f"spamcannibal-{name}" for name in COMMANDS)}
    assert {path.name for path in pages.iterdir()} == {f"{name}.8" for name in expected}
    for launcher in launchers:
        (target,) = re.findall(r"^\.so man8/(.*)$", (pages / f"{launcher}.8").read_text(), re.MULTILINE)
        assert (pages / target).exists()


@pytest.mark.skipif(shutil.which("man") is None, reason="no man on this machine")
def test_man_reads_all_pages_without_a_warning(pages: Path) -> None:
    for path in sorted(pages.glob("spamcannibal*.8")):
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", path], capture_output=True, check=True
        )
        assert not done.stderr, f"{path.name}: {done.stderr.decode()}"


@pytest.mark.skipif(shutil.which("man") is None, reason="no man on this machine")
@pytest.mark.parametrize("text", [".dot 'and' \\backslash ^~` --dash", "'quote first", "two\n.lines"])
def test_what_is_escaped_is_shown_as_it_was(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.8"
    path.write_text(f".TH X 8\n.SH NAME\nx \\- y\n.SH TEXT\n.nf\n{roff(text)}\n.fi\n")
    argv = ["man", "-P", "cat", "-E", "UTF-8", "-l", path]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, "MANWIDTH": "100"})
    shown = re.sub(".\b", "", done.stdout)
    assert [line.strip() for line in text.splitlines()] == [
        line.strip() for line in shown.partition("TEXT\n")[2].splitlines()[: len(text.splitlines())]
    ]
