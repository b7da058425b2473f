"""The documentation's pages carried out: what stands in a page, and a machine of its own to do it on.

What a page says becomes steps, in its order:

| in the page | becomes |
|---|---|
| a block `console` | each line after a prompt is a command, the lines below it what must be printed |
| a block `sh` | each command of it, as a script has them |
| another block below a paragraph that names one absolute path in backticks | that file; "Add to" appends |

Prompts are `# ` and `$ ` (this host), and `NAME# ` for another host: a network namespace of that name. `> ` goes on
with the line before. Of what is printed the shown lines must come in their order; `…` stands for anything, in a line or
as one. `# exit 1` at a command's end says the exit code, which else is 0.

The machine is a copy of this one's files that keeps its changes to itself (overlayfs), with processes and a network of
its own; what it can't have is in STUBS.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "conf" / "docs"
HELPERS = Path(__file__).with_name("helpers")

# A command that can't be what it is: what stands for it, and why.
STUBS = {
    r"apt(-get)? (update|install|remove) .*": ("true", "no network; the set-up has installed the packages"),
    r"bin/build-deb( && apt install .*)?": ("true", "its own test builds the package; it fetches from PyPI"),
    r"python3 -m venv /opt/spamcannibal.*": ("install-checkout", "no network; t/test_packaging.py runs pip install"),
}
# What stands in for a program: helpers/docs_NAME.*, and why.
PROGRAMS = {
    "systemctl": "no systemd in here; it runs what the units say, waits for READY=1, sends their signals",
    "journalctl": "prints what such a unit has written",
    "install-checkout": "puts the checkout where pip would, with @documentation off: the pages' addresses are such",
    "editor": "nobody is there to type; README's test has it write what the comment says",
    "spamdb": "OpenBSD's; it prints what its manual shows",
    "fail2ban-client": "not installed; it prints what its manual shows",
}


@dataclass
class Step:
    """One command of a page: its text for bash, the lines shown below it, and the exit code that it says."""

    line: int
    command: str
    shown: list[str] = field(default_factory=list)
    code: int = 0
    host: str = ""
    printed: str = ""
    ended: int | None = None
    took_s: float = 0.0

    def wrong(self) -> str:
        """Say how it went otherwise than shown, "" if it did not."""
        if self.ended is None:
            return "was not reached"
        if self.ended != self.code:
            return f"exit {self.ended}, not {self.code}"
        lines = iter(re.sub(r"\x1b\[[0-9;]*m", "", self.printed).splitlines())
        for pattern in (_pattern(line) for line in self.shown if line.strip(" …")):
            if not any(pattern.fullmatch(line.strip()) for line in lines):
                return f"did not print {pattern.pattern!r}"
        return ""


def _pattern(line: str) -> re.Pattern[str]:
    """The lines that one shown line stands for; runs of blanks are equal."""
    parts = (r"\s+".join(map(re.escape, part.split(" "))) for part in re.sub(r"\s+", " ", line.strip()).split("…"))
    return re.compile(".*".join(parts))


def steps(text: str) -> list[Step]:
    """What a page has the reader do."""
    found: list[Step] = []
    before: Token | None = None
    for token in _tokens(text):
        if token.type == "fence":
            found += _of_block(token, before)
        before = token
    return found


def _tokens(text: str) -> Iterator[Token]:
    """Fences, and the text of paragraphs."""
    return (token for token in MarkdownIt().parse(text) if token.type in ("fence", "inline"))


def _of_block(token: Token, before: Token | None) -> Iterator[Step]:
    line = (token.map or [0])[0] + 1
    if token.info == "console":
        yield from _of_console(token.content, line)
    elif token.info == "sh":
        for number, command in _commands(token.content):
            yield _step(line + number, command)
    elif path := _named_path(before):
        operator = ">>" if before and "Add to `" in before.content else ">"
        parent = Path(path).parent
        yield Step(line, f"mkdir -p {parent} && cat {operator} {path} <<'END_OF_FILE'\n{token.content}END_OF_FILE")


def _named_path(before: Token | None) -> str:
    paths = re.findall(r"`(/[\w./@-]+)`", before.content) if before and before.content.endswith(":") else []
    return paths[0] if len(paths) == 1 else ""


def _of_console(text: str, line: int) -> Iterator[Step]:
    step: Step | None = None
    for number, words in enumerate(text.splitlines(), line + 1):
        if match := re.match(r"(?:(\w+))?[#$] (.*)", words):
            if step:
                yield step
            step = _step(number, match[2], match[1] or "")
        elif step and words.startswith("> ") and not step.shown:
            step.command += "\n" + words[2:]
        elif step:
            step.shown.append(words)
    if step:
        yield step


def _step(line: int, command: str, host: str = "") -> Step:
    code = re.search(r"\s+# exit (\d+).*$", command)
    return Step(line, command[: code.start()] if code else command, code=int(code[1]) if code else 0, host=host)


def _commands(script: str) -> Iterator[tuple[int, str]]:
    """The commands of a script with the numbers of their lines, each as long as bash needs it."""
    waiting = ""
    for number, line in enumerate(script.splitlines(), 1):
        if not waiting and (not line.strip() or line.lstrip().startswith("#")):
            continue
        waiting += line
        if subprocess.run(["bash", "-n", "-c", waiting], capture_output=True, check=False).returncode == 0:
            yield number, waiting
            waiting = ""
        else:
            waiting += "\n"
    assert not waiting, f"bash does not take {waiting!r}"


def stubbed(command: str) -> str:
    """A command as the machine can have it."""
    for pattern, (other, _) in STUBS.items():
        if re.fullmatch(pattern, command.strip()):
            return other
    return command


MACHINE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs -o size=1g,mode=755 tmpfs "$1"
mkdir "$1"/up "$1"/work "$1"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1"/root
cd "$1"/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
# The checkout may lie below one of these, or on a file system of its own.
mkdir -p "$1"/up-of-it "$1"/work-of-it ".$3"
mount -t overlay overlay -o "lowerdir=$3,upperdir=$1/up-of-it,workdir=$1/work-of-it" ".$3"
ip link set lo up
cp "$2" run/session
exec chroot . bash /run/session
"""


def carry_out(steps: list[Step], prepare: str, folder: Path, limit_s: float = 240) -> None:
    """Do the steps on a fresh machine that `prepare`, a script, has made ready; what came of them is noted in them."""
    mount, session = folder / "mount", folder / "session"
    mount.mkdir()
    session.write_text(_session(steps, prepare))
    argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "bash", "-c", MACHINE, "machine"]
    with (folder / "out").open("wb") as out, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [*argv, str(mount), str(session), str(ROOT)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", check=False, timeout=limit_s,
        )  # fmt: skip
    printed = (folder / "out").read_text(errors="replace")
    assert "\x1e" in printed, f"the machine can't be had: {printed}"
    for match in re.finditer(r"^\x1e(\d+)\n(.*?)\x1f\1 (\d+) (\d+)$", printed, re.MULTILINE | re.DOTALL):
        step = steps[int(match[1])]
        step.printed, step.ended, step.took_s = match[2], int(match[3]), int(match[4]) / 1e6


def _session(steps: list[Step], prepare: str) -> str:
    scripts = ((name, script) for name in PROGRAMS for script in HELPERS.glob(f"docs_{name.replace('-', '_')}.*"))
    stubs = "\n".join(f"install -m 755 {script} /run/stubs/{name}" for name, script in scripts)
    lines = [
        f"mkdir -p /run/stubs /run/lock\n{stubs}",
        f"export PATH=/run/stubs:$PATH:/sbin:/usr/sbin CHECKOUT={ROOT} PYTHON={shutil.which('python') or 'python3'}",
        "export HOME=/root LC_ALL=C.UTF-8 COLUMNS=200; unset PYTHONPATH",
        f"cd {ROOT}\n{prepare}",
    ]
    for number, step in enumerate(steps):
        command = stubbed(step.command)
        for pattern, wait_s in PAUSES.items():
            if re.match(pattern, command):
                command += f"\nended=$?; sleep {wait_s}; (exit $ended)"
        if command.endswith("&"):
            command = f"{LISTENING}\n{command}\n{_readiness(command)}"
        if step.host:
            command = f"ip netns exec {step.host} bash -c {_quoted(command)}"
        lines.append(f"printf '\\x1e{number}\\n'; began=${{EPOCHREALTIME/./}}\n{command}")
        lines.append(f"printf '\\n\\x1f{number} %d %d\\n' $? $((${{EPOCHREALTIME/./}} - began))")
    return "\n".join(lines) + "\n"


# Nobody types so fast: changes of the list are in force within a fifth of a second, daemons write notes each second.
PAUSES = {
    r"spamcannibal list (add|remove|import|undo)|.*systemctl reload": 0.4,
    r"systemctl (start|enable --now) spamcannibal-\w+( |$)": 1.2,
}
LISTENING = "before=$(ss -Hltn | wc -l)"


def _readiness(command: str) -> str:
    """Wait as a reader does, who looks before he types on: for the log's UP, or for one more listening socket."""
    log = re.search(r"2>(\S+)", command)
    asked = f"grep -q ' UP ' {log[1]}" if log else "[ $(ss -Hltn | wc -l) -gt $before ]"
    return f"for i in $(seq 200); do if {asked}; then break; fi; sleep 0.1; done"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
