"""What the documentation says by rote, as Markdown made of the program: every setting, metric, exit code and command,
and every operation of the API.

PARTS has them by the name that a page asks for. A part refuses to be made where its sources contradict each other: a
key that stands in conf/spamcannibal.toml alone, or in the structs alone.
"""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import msgspec

from spamcannibal import errors, web
from spamcannibal.commands import SECTIONS
from spamcannibal.commands.main import cli
from spamcannibal.dnsbl import metrics as dnsbl_metrics
from spamcannibal.dnsbl.export import outlet
from spamcannibal.gather import figures as gather_figures
from spamcannibal.settings import Settings
from spamcannibal.web import metrics_words

SETTINGS = Path(__file__).parent.parent / "spamcannibal.toml"
WIDTH = 96


# --- settings ---


def settings() -> str:
    """Every key: what conf/spamcannibal.toml says of it, with type and default of the structs."""
    known = dict(_fields(Settings, ""))
    told: set[str] = set()
    parts: list[str] = []
    for section, paragraphs in _sections(SETTINGS.read_text("utf-8")):
        parts.append(f"## [{section}]")
        for comment, keys in paragraphs:
            told |= set(keys)
            if stray := set(keys) - set(known):
                raise ValueError(f"{SETTINGS.name} has keys that no setting is: {sorted(stray)}")
            rows = (_row(name, known[name], value) for name, value in keys.items())
            table = ["| key | default | takes |", "|---|---|---|", *rows] if keys else []
            parts += [_prose(comment), "\n".join(table)]
    if left_out := set(known) - told:
        raise ValueError(f"{SETTINGS.name} lacks {sorted(left_out)}")
    return "\n\n".join(parts)


def _fields(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, msgspec.structs.FieldInfo]]:
    for field in msgspec.structs.fields(kind):
        inner = get_args(field.type)[0] if get_origin(field.type) is tuple else field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from _fields(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", field


def _sections(text: str) -> Iterator[tuple[str, list[tuple[list[str], dict[str, str]]]]]:
    """Yield each [section] with its paragraphs: the lines of a comment, and name -> value of the keys below it.

    A [[table]] reaches to the end of its paragraph. Values in one are samples, which is said by an empty text.
    """
    for match in re.finditer(r"^\[(\w+)\]\n(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL):
        paragraphs = []
        for paragraph in re.split(r"\n\s*\n", match[2].strip("\n")):
            comment, keys, table = [], {}, match[1]
            for line in paragraph.splitlines():
                if found := re.match(r"#\[\[(.+)\]\]$", line):
                    table = found[1]
                    comment.append(f"  [[{table}]]")
                elif found := re.match(r"#(\w+) = (.*)", line):
                    keys[f"{table}.{found[1]}"] = found[2] if table == match[1] else ""
                elif line.startswith("# "):
                    comment.append(line[2:])
            paragraphs.append((comment, keys))
        yield match[1], paragraphs


def _prose(lines: list[str]) -> str:
    """A comment as Markdown: what is indented stays as it is."""
    parts: list[str] = []
    for line in lines:
        kind = "text" if line.startswith("  ") else ""
        if not parts or parts[-1].startswith("```") != bool(kind):
            parts.append("```text" if kind else "")
        parts[-1] += "\n" + (line if kind else _escaped(line))
    return "\n\n".join(part + "\n```" if part.startswith("```") else part for part in parts)


def _escaped(text: str) -> str:
    """Take the meaning from what Markdown would see in a text, but for its `code`."""
    return re.sub(r"`[^`]*`|[*<>\[\]|\\]", lambda found: found[0] if found[0][0] == "`" else "\\" + found[0], text)


def _row(name: str, field: msgspec.structs.FieldInfo, written: str) -> str:
    default = "required" if field.required else f"`{written or _toml(field.default)}`"
    takes = _taken(field.type)
    for ending, kind, unit in (("_bytes", "size", "bytes"), ("_s", "time", "s")):
        if name.endswith(ending) and not name.endswith("per_s"):
            takes = f"{takes.replace('number', kind)} {unit}"
    return f"| [`{name.rpartition('.')[2]}`]{{#{_id(name)}}} | {default} | {takes} |"


def _id(name: str) -> str:
    """What docutils leaves as it is."""
    return re.sub(r"[._]", "-", name)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:.15g}" if isinstance(value, float) else str(value)


def _taken(kind: Any) -> str:
    """Say what a type takes, in words."""
    if get_origin(kind) is tuple:
        return f"list: {_taken(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{_toml(choice)}`" for choice in get_args(kind))
    if hasattr(kind, "__metadata__"):
        (meta,) = kind.__metadata__
        return f"{_taken(kind.__origin__)}{_bounds(meta)}"
    return {bool: "`true`, `false`", int: "number", float: "number", str: "text"}[kind]


def _bounds(meta: msgspec.Meta) -> str:
    words = (("gt", "above "), ("ge", ""), ("lt", "below "), ("le", "to "))
    told = [f"{word}{bound:,}" for name, word in words if (bound := getattr(meta, name)) is not None]
    return f", {' '.join(told)}" if told else ""


# --- metrics ---


def metrics() -> str:
    """Every metric, by what serves it."""
    served = {
        "The DNS server, at `dnsbl.metrics`": (dnsbl_metrics.PREFIX, dnsbl_metrics._HELP),
        "The gather listener, at `/metrics` of `gather.listen`": (gather_figures.PREFIX, gather_figures.HELP),
        "The web pages, at `/metrics`": (metrics_words.PREFIX, metrics_words.HELP),
        "Exports, in the file that `spamcannibal export --metrics` names": (outlet.PREFIX, outlet.HELP),
    }
    parts = []
    for place, (prefix, helps) in served.items():
        rows = [
            f"| [`{prefix}{name}`]{{#{_id(prefix + name)}}} | {_kind(name)} | {_escaped(text)} |"
            for name, text in helps.items()
        ]
        parts += [f"## {place}", "\n".join(["| metric | kind | says |", "|---|---|---|", *rows])]
    return "\n\n".join(parts)


def _kind(name: str) -> str:
    if name == "web_request_seconds":
        return "histogram"
    return "counter" if name.endswith("_total") else "gauge"


# --- commands ---


def commands() -> str:
    """Every command with the help that it prints."""
    parts = []
    for section, found in SECTIONS.items():
        parts.append(f"## {section}")
        for name in found:
            for ctx in _below(_context(name)):
                level = "#" * min(4, 1 + len(ctx.command_path.split()))
                parts.append(f"{level} {ctx.command_path}\n\n```text\n{ctx.get_help()}\n```")
    return "\n\n".join(parts)


def _context(name: str) -> click.Context:
    top = _child(cli, "spamcannibal", None)
    command = cli.get_command(top, name)
    assert command is not None, name
    return _child(command, name, top)


def _below(ctx: click.Context) -> Iterator[click.Context]:
    yield ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            found = ctx.command.get_command(ctx, name)
            if found is not None and not found.hidden:
                yield from _below(_child(found, name, ctx))


def _child(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)


# --- exit codes ---


def exit_codes() -> str:
    """The table of the errors, and what each command's help says of its own codes."""
    table = re.search(r"^\|.*\|$(\n\|.*\|$)*", errors.__doc__ or "", re.MULTILINE)
    assert table is not None
    rows = [f"| `{ctx.command_path}` | {_escaped(text)} |" for ctx in _all() if (text := _said_of_exit(ctx.command))]
    head = ["| command | what its help says |", "|---|---|"]
    return "\n\n".join([table[0], "## What single commands mean", "\n".join([*head, *rows])])


def _all() -> Iterator[click.Context]:
    for found in SECTIONS.values():
        for name in found:
            yield from _below(_context(name))


def _said_of_exit(command: click.Command) -> str:
    said = []
    for part in (command.help, command.epilog):
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(part or "").replace("\b\n", "")):
            text = " ".join(paragraph.split())
            if paragraph.startswith(("Exit codes:", "Examples:")):
                said += [text] * paragraph.startswith("Exit")
            else:
                said += [each for each in re.split(r"(?<=[.])\s+", text) if re.search(r"\b[Ee]xits? \d", each)]
    return " ".join(said)


# --- the API ---


def operations() -> str:
    """Every operation of the API's own description."""
    told = json.loads((Path(web.__file__).parent / "openapi.json").read_text("utf-8"))
    methods = ("get", "put", "post", "patch", "delete")
    rows = [
        f"| `{method.upper()} {path}` | {_scope(operation)} | {_escaped(operation['summary'])} |"
        for path, found in told["paths"].items()
        for method in methods
        if (operation := found.get(method))
    ]
    return "\n".join(["| operation | scope | does |", "|---|---|---|", *rows])


def _scope(operation: dict[str, Any]) -> str:
    found = re.search(r"^Scope: (\w+)", operation["description"], re.MULTILINE)
    return found[1] if found else "none"


PARTS = {
    "settings": settings,
    "metrics": metrics,
    "commands": commands,
    "exit_codes": exit_codes,
    "operations": operations,
}
