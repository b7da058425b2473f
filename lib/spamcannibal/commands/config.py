"""`spamcannibal config`: check the settings and the files they name, or show what is in force and from where."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from spamcannibal.commands.common import config_path, json_option, printable
from spamcannibal.commands.config_import import import_perl
from spamcannibal.config import Reading, read
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.neverfile import read_never_list


@click.group()
def command() -> None:
    """Check or show the settings, or import those of the original."""


command.add_command(import_perl)


@command.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Print "ok", or every mistake found in the settings and the files they name.

    These are the never-list, the remote lists in use with their keys, the files of [jobs], and keys and certificates of
    [gather], [follow] and [share], read as the users that these become.

    \b
    Examples:
      spamcannibal config check
      spamcannibal -c new.toml config check && systemctl reload 'spamcannibal-*'
    """
    reading = read(config_path(ctx), os.environ)
    problems = [*reading.problems, *_never_list_problems(reading)]
    if reading.settings is not None:
        # Imported here, since it loads the database library, which nothing else here needs.
        from spamcannibal.commands import credentials
        from spamcannibal.commands.running import rule_problems

        problems += [*rule_problems(reading.settings), *credentials.problems(reading.settings)]
    for problem in problems:
        click.echo(printable(problem), err=True)
    if problems:
        ctx.exit(ConfigError.exit_code)
    click.echo("ok")


@command.command()
@click.option("--origin", is_flag=True, help="Say which file sets each value.")
@json_option
@click.pass_context
def show(ctx: click.Context, origin: bool, as_json: bool) -> None:
    """Print the settings in force, as TOML that can be read back.

    \b
    Examples:
      spamcannibal config show --origin
      spamcannibal config show --json | jq .tarpit.mode
    """
    reading = read(config_path(ctx), os.environ)
    if reading.settings is None:
        raise ConfigError(*reading.problems)
    sections = msgspec.to_builtins(reading.settings)
    if as_json and origin:
        sections = {
            section: {key: {"value": value, "origin": _origin(reading, section, key)} for key, value in table.items()}
            for section, table in sections.items()
        }
    if as_json:
        click.echo(json.dumps(sections, indent=2))
        return
    for line in _toml(sections, reading if origin else None):
        click.echo(line)


def _never_list_problems(reading: Reading) -> tuple[str, ...]:
    """Return what is wrong with the never-list that the settings name."""
    # While other keys are wrong, that it is missing may be only their fault.
    if reading.problems and not Path(reading.draft.guard.never_list).exists():
        return ()
    try:
        read_never_list(reading.draft)
    except ConfigError as error:
        return error.problems
    except SpamCannibalError as error:
        return (str(error),)
    return ()


def _origin(reading: Reading, section: str, key: str) -> str:
    return reading.origins.get(f"{section}.{key}", "default")


def _toml(sections: Mapping[str, Mapping[str, Any]], reading: Reading | None) -> Iterator[str]:
    """Yield the lines of a TOML file, with the origin of each key as a comment if `reading` is given."""
    for section, table in sections.items():
        yield f"[{section}]"
        arrays = {key: value for key, value in table.items() if value and _is_tables(value)}
        for key, value in table.items():
            comment = f"  # {printable(_origin(reading, section, key))}" if reading else ""
            if key not in arrays:
                yield f"{key} = {_literal(value)}{comment}"
        for key, tables in arrays.items():
            comment = f"  # {printable(_origin(reading, section, key))}" if reading else ""
            for each in tables:
                yield from ("", f"[[{section}.{key}]]{comment}")
                yield from (f"{name} = {_literal(value)}" for name, value in each.items())
        yield ""


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, Mapping) for each in value)


def _literal(value: Any) -> str:
    """Return a value as TOML, which JSON is for texts, numbers, booleans and arrays (DEL must be escaped)."""
    return json.dumps(value).replace("\x7f", "\\u007f")
