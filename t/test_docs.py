"""The documentation as a site: it builds without a warning and without a network, and says all that the program has."""

from __future__ import annotations

import contextlib
import inspect
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args, get_origin
from urllib.parse import urldefrag, urlsplit

import click
import msgspec
import pytest

from docskit import DOCS, PROGRAMS, ROOT, STUBS, Step, steps, stubbed
from spamcannibal import errors
from spamcannibal.commands import COMMANDS
from spamcannibal.commands.main import cli
from spamcannibal.dnsbl.export import outlet
from spamcannibal.dnsbl.export.drift import Drift
from spamcannibal.settings import Settings

pytest.importorskip("sphinx", reason="the documentation is built by Sphinx")
PAGES = sorted(DOCS.glob("*.md"))
# Paths in the texts that are not meant to be there: the reader makes them, or another program has them.
FOLDERS = ("conf", "bin", "cron", "cgi-bin", "lib", "t")


class Page(HTMLParser):
    """What a built page links to, loads and can be linked by, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {key: value or "" for key, value in attrs}
        self.ids |= {told["id"]} if "id" in told else set()
        if tag == "a" and "href" in told:
            self.links.add(told["href"])
        elif tag == "link":
            self.loads.add(told["href"])
        if "src" in told:
            self.loads.add(told["src"])

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Page]:
    """The built pages by name. Without a network: whatever the build asked for there would fail."""
    target = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", ROOT / "bin/build-docs", target],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: Page(path) for path in target.glob("*.html")}


def test_every_page_is_built_and_reached_from_the_first(site: dict[str, Page]) -> None:
    assert {path.with_suffix(".html").name for path in PAGES} <= set(site)
    seen, waiting = set(), ["index.html"]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [found for link in site[name].links if (found := urldefrag(link)[0]) in site]
    assert seen >= {path.with_suffix(".html").name for path in PAGES}


def test_links_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site: dict[str, Page]) -> None:
    wrong = []
    for name, page in site.items():
        for link in page.links | page.loads:
            where, anchor = urldefrag(link)
            parts = urlsplit(where)
            if parts.scheme:
                is_good = link in page.links and parts.scheme in ("https", "http") and "." in parts.netloc
            else:
                is_good = not parts.netloc and (page.path.parent / parts.path).exists() if where else True
                is_good = is_good and (not anchor or anchor in site.get(parts.path or name, page).ids)
            wrong += [f"{name}: {link}"] * (not is_good)
    assert not wrong


def test_style_sheets_load_nothing_from_elsewhere(site: dict[str, Page]) -> None:
    sheets = list(site["index.html"].path.parent.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text("utf-8")), sheet.name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = re.sub(r"<!--.*?-->", "", page.read_text("utf-8"), flags=re.DOTALL)
    named = set(re.findall(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./@-]*\w", text))
    assert not {path for path in named if not (ROOT / path).exists()}


def test_every_setting_is_told_and_none_that_is_not_there(site: dict[str, Page]) -> None:
    sections = {field.name for field in msgspec.structs.fields(Settings)}
    told = {name for name in site["settings.html"].ids if name.partition("-")[0] in sections and "-" in name}
    assert told == {re.sub(r"[._]", "-", name) for name in setting_names(Settings, "")}


def setting_names(kind: type[msgspec.Struct], prefix: str) -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        inner = get_args(field.type)[0] if get_origin(field.type) is tuple else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from setting_names(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_every_command_is_told_with_its_options(site: dict[str, Page]) -> None:
    page = site["commands.html"]
    for ctx in every_command():
        assert ctx.command_path.replace(" ", "-") in page.ids
        assert all(param.opts[-1] in page.text for param in ctx.command.params if isinstance(param, click.Option))


def below(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name, command in ctx.command.commands.items():
            if not command.hidden:
                yield from below(click.Context(command, info_name=name, parent=ctx))


def test_every_metric_is_told(site: dict[str, Page]) -> None:
    """Those of exports; t/live/test_docs_commands.py asks the daemons."""
    text = outlet.followed("x", 0, 0, Counter()) + outlet.checked("x", Drift(), 0)
    served = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    told = set(re.findall(r"\bspamcannibal_outlet_\w+", site["metrics.html"].text))
    assert served == told


def test_every_example_in_the_help_is_a_command_line() -> None:
    """Checked as click reads it, up to where the shell goes on; files that it names need not be there."""
    lines = [line for ctx in every_command() for line in examples(ctx.command)]
    assert len(lines) > 60
    for line in lines:
        words = shlex.split(re.split(r" (?:\||&&|[<>]) ", re.sub(r"\$\(.*?\)", "made", line))[0])
        read(cli, "spamcannibal", words[1:])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README", ROOT / "conf/dnsbl.md"], ids=lambda path: path.name)
def test_commands_in_the_text_are_commands(page: Path) -> None:
    """Those in blocks are run; these stand in sentences: not always whole, and with ADDRESS for what the reader has."""
    text = page.read_text("utf-8").replace("\n", " ").replace("ADDRESS", "192.0.2.7").replace("…", "")
    for line in re.findall(r"`spamcannibal ([^`]+)`", text):
        with contextlib.suppress(click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            read(cli, "spamcannibal", shlex.split(re.split(r" (?:\||&&|[<>]) ", line)[0]))


def test_what_is_stubbed_stands_in_a_page() -> None:
    commands = [step.command for page in (*PAGES, ROOT / "README") for step in steps(page.read_text("utf-8"))]
    assert not [stub for stub in STUBS if not any(stubbed(command) == STUBS[stub][0] for command in commands)]
    assert all(
        any(re.search(rf"\b{name}\b", command) for command in commands)
        for name in PROGRAMS
        if name != "install-checkout"
    )


def every_command() -> Iterator[click.Context]:
    top = click.Context(cli, info_name="spamcannibal")
    for name in COMMANDS:
        found = cli.get_command(top, name)
        assert found is not None
        yield from below(click.Context(found, info_name=name, parent=top))


def examples(command: click.Command) -> list[str]:
    text = inspect.cleandoc(f"{command.help}\n\n{command.epilog or ''}")
    return re.findall(r"^ *(?:\w+=\S+ )?(spamcannibal .*)$", text, re.MULTILINE)


def read(command: click.Command, name: str, words: list[str], parent: click.Context | None = None) -> None:
    """Read the words as the command would, and go on with its subcommand; UsageError if it does not take them."""
    try:
        ctx = command.make_context(name, list(words), parent=parent)
    except click.BadParameter as error:
        if "does not exist" in error.message or "no such file" in error.message.lower():
            return
        raise
    except click.exceptions.Exit:  # --help and its kin
        return
    rest = [*ctx._protected_args, *ctx.args]
    if isinstance(command, click.Group) and rest:
        found = command.get_command(ctx, rest[0])
        if found is not None:
            read(found, rest[0], rest[1:], ctx)
        else:
            assert not command.commands or command.invoke_without_command, words


def test_every_exit_code_of_the_program_is_told(site: dict[str, Page]) -> None:
    text = site["exit-codes.html"].text
    base = errors.SpamCannibalError
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, base)]
    assert len(kinds) > 5
    assert all(kind.__name__ in text and str(kind.exit_code) in text for kind in kinds)


# --- the reader of pages, which the live tests stand on ---

SAMPLE = """\
Settings go to `/etc/x.toml`:

```toml
key = 1
```

Add to `/etc/x.toml`:

```toml
more = 2
```

```console
# one --option   # exit 3: it is so
first … line
…
mx# two \\
> lines
$ three
```

```sh
# a remark
for a in 1 2; do
    echo $a   # each
done
false || true
```

```zone
only to be read
```
"""


def test_a_page_is_read_as_what_its_reader_does() -> None:
    found = steps(SAMPLE)
    assert [step.command.splitlines()[0] for step in found] == [
        "mkdir -p /etc && cat > /etc/x.toml <<'END_OF_FILE'",
        "mkdir -p /etc && cat >> /etc/x.toml <<'END_OF_FILE'",
        "one --option",
        "two \\",
        "three",
        "for a in 1 2; do",
        "false || true",
    ]
    assert [(step.code, step.host, step.line) for step in found[2:5]] == [(3, "", 14), (0, "mx", 17), (0, "", 19)]
    assert found[2].shown == ["first … line", "…"]
    assert found[3].command == "two \\\nlines"


@pytest.mark.parametrize(
    ("printed", "ended", "wrong"),
    [
        ("noise\nfirst long line\nmore\n", 3, ""),
        ("\x1b[1mfirst  a   line\x1b[0m\n", 3, ""),
        ("", None, "was not reached"),
        ("first a line\n", 0, "exit 0, not 3"),
        ("a first line\n", 3, "did not print"),
    ],
)
def test_what_came_out_is_held_against_what_is_shown(printed: str, ended: int | None, wrong: str) -> None:
    step = Step(1, "one", ["first … line", "…"], 3, printed=printed, ended=ended)
    assert step.wrong().startswith(wrong) and bool(step.wrong()) == bool(wrong)
