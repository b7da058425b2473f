"""`spamcannibal robot`: signed spam reports in, from standard input, LMTP or files; `robot key` keeps the keys."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.addr import format_key
from spamcannibal.commands.common import emit, json_option, load_settings, printable, progress
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.rows import when

if TYPE_CHECKING:
    from spamcannibal.robot.outcome import Outcome
    from spamcannibal.robot.pgp import Key, Pgp
    from spamcannibal.settings import Settings

EXIT_DEFERRED = 75
DRAIN_LIMIT_BYTES = 1 << 20  # until the settings are known
KEY_COLUMNS = ("fingerprint", "users", "state", "expires", "own", "submitter")


class RobotGroup(click.Group):
    """A group whose arguments are files unless the first one names a subcommand; click offers only to inherit."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "FILE", files, args


@click.group(cls=RobotGroup, invoke_without_command=True, subcommand_metavar="[FILE]... | key COMMAND")
@click.option("--lmtp", is_flag=True, help="Serve LMTP on the socket of the settings, in the foreground.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; list nothing, keep nothing, answer nobody.")
@click.pass_context
def command(ctx: click.Context, lmtp: bool, dry_run: bool) -> None:
    """Take spam reports and commands by mail: one on standard input, many from files, or all over LMTP.

    A report counts if it is signed by somebody in [[robot.submitter]]. The source of the spam in it goes onto the list
    with the message as evidence; the submitter gets a signed answer. A signed mail that begins with list, unlist,
    explain or status is a command, for those with that role. FILE is a message, an mbox or a Maildir; whoever is in
    there is not answered.

    \b
    Examples:
      spamcannibal robot < report.eml
      spamcannibal robot --dry-run report.eml
      spamcannibal robot ~/Maildir/.Reports
      spamcannibal robot --lmtp
      spamcannibal robot key new "Robot <robot@mx.example.net>"

    \b
    Exit codes: 0 done, or refused and the submitter told; 65 refused; 75 try again: database busy, disk full, gpg or
    settings broken (on standard input all of these, so that the mail server keeps the mail); 69 LMTP can't listen.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = dry_run
    elif lmtp:
        from spamcannibal.commands.robot_serve import serve

        serve(ctx)
    else:
        ctx.exit(_one(ctx, dry_run))


@click.command(hidden=True)
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line a message.")
@click.pass_context
def files(ctx: click.Context, paths: tuple[Path, ...], dry_run: bool, as_json: bool) -> None:
    """Take the messages of files, mboxes and Maildirs."""
    from spamcannibal.commands.robot_tools import open_robot
    from spamcannibal.events import EventLog
    from spamcannibal.robot import feed

    settings, is_dry = _settings(ctx), dry_run or bool(ctx.obj)
    log = EventLog(sys.stderr, settings.log.format)
    worst, total = 0, sum(map(feed.size_of, paths))
    with open_robot(settings, log, "files", is_dry) as robot, progress(total, "Messages") as step:
        for path in paths:
            for message in feed.messages(path, settings.robot.message_limit_bytes):
                outcome = robot.take(message.raw, time.time())
                worst = max(worst, outcome.exit_code)
                click.echo(_line(message.name, outcome, as_json))
                step(message.size)
    ctx.exit(worst)


@command.group()
def key() -> None:
    """Keep the robot's keys: its own, and those of who may report."""


@key.command()
@click.argument("user")
@click.pass_context
def new(ctx: click.Context, user: str) -> None:
    """Make the robot's own key for USER, and say what to put into the settings.

    \b
    Examples:
      spamcannibal robot key new "Robot <robot@mx.example.net>"
    """
    settings = _settings(ctx)
    pgp = _keys(settings)
    fingerprint = pgp.new_key(user)
    click.echo(pgp.export(fingerprint).decode("ascii"), nl=False)
    click.echo("\nGive the key above to who reports, and put into the settings:", err=True)
    click.echo(f'[robot]\nkey = "{fingerprint}"', err=True)


@key.command("import")
@click.argument("file", type=click.File("rb"))
@click.pass_context
def import_(ctx: click.Context, file: Any) -> None:
    """Take in the keys of FILE (- for standard input). A key alone allows nothing: [[robot.submitter]] does.

    \b
    Examples:
      spamcannibal robot key import alice.asc
    """
    from spamcannibal.robot.pgp import KEY_FILE_LIMIT_BYTES

    data = file.read(KEY_FILE_LIMIT_BYTES + 1)
    if len(data) > KEY_FILE_LIMIT_BYTES:
        raise click.BadParameter(f"{file.name}: too long, want at most {KEY_FILE_LIMIT_BYTES} bytes of keys")
    settings = _settings(ctx)
    pgp = _keys(settings)
    found = pgp.import_keys(data)
    _show_keys(settings, [each for each in pgp.all_keys() if each.fingerprint in found], as_json=False)


@key.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Show the keys and their state. Exit 1 if a submitter's key is missing or can't be used."""
    settings = _settings(ctx)
    keys = _keys(settings, make=False).all_keys()
    _show_keys(settings, keys, as_json)
    usable = {each.fingerprint for each in keys if not each.state}
    wrong = [each.name for each in settings.robot.submitter if each.fingerprint.upper() not in {*usable, ""}]
    for name in wrong:
        click.echo(f"{name}: no usable key; import it", err=True)
    ctx.exit(1 if wrong else 0)


@key.command()
@click.argument("fingerprint")
@click.option("--own", is_flag=True, help="Remove a key of the robot's own, with its secret part.")
@click.pass_context
def remove(ctx: click.Context, fingerprint: str, own: bool) -> None:
    """Remove the key with this FINGERPRINT, all 40 digits of it. Exit 1 if there is none.

    \b
    Examples:
      spamcannibal robot key remove 0123456789ABCDEF0123456789ABCDEF01234567
    """
    pgp = _keys(_settings(ctx), make=False)
    wanted = fingerprint.replace(" ", "").upper()
    found = next((each for each in pgp.all_keys() if each.fingerprint == wanted), None)
    if found is None:
        click.echo(f"{printable(fingerprint)}: no such key; `robot key list` shows them", err=True)
        ctx.exit(1)
    if found.is_own != own:
        wrong = "this is the robot's own key: --own removes it" if found.is_own else "--own: not the robot's own key"
        raise click.UsageError(wrong)
    pgp.remove_key(wanted, own)


def _one(ctx: click.Context, is_dry: bool) -> int:
    """Take the message on standard input; whatever is wrong with us leaves it with the mail server."""
    limit = DRAIN_LIMIT_BYTES
    raw: bytes | None = None
    try:
        settings = _settings(ctx)
        limit = settings.robot.message_limit_bytes
        raw = _read(limit)
        outcome = _deal(settings, raw, is_dry)
    except SpamCannibalError as error:
        click.echo(f"spamcannibal: {printable(str(error))}", err=True)
        return EXIT_DEFERRED
    except Exception as error:  # the boundary: a fault of ours must not cost the mail
        click.echo(f"spamcannibal: a fault: {type(error).__name__}: {printable(str(error))}", err=True)
        return EXIT_DEFERRED
    finally:
        if raw is None:
            _read(limit)
    if is_dry or outcome.exit_code:
        click.echo(_line("message", outcome, as_json=False))
    is_kept = settings.robot.refusals == "keep" and not is_dry and outcome.kind == "refused"
    return 0 if is_kept else outcome.exit_code


def _deal(settings: Settings, raw: bytes, is_dry: bool) -> Outcome:
    from spamcannibal.commands.robot_tools import open_robot
    from spamcannibal.events import EventLog
    from spamcannibal.robot.intake import event

    log = EventLog(sys.stderr, settings.log.format)
    with open_robot(settings, log, "mail", is_dry) as robot:
        outcome = robot.take(raw, time.time())
        log.emit("ROBOT", **event(outcome))
        return outcome


def _read(limit: int) -> bytes:
    from spamcannibal.robot.feed import read_bounded

    return read_bounded(sys.stdin.buffer, limit)


def _settings(ctx: click.Context) -> Settings:
    """Return the settings, as the robot's user: what it writes must be its own."""
    from spamcannibal.service import drop_privileges

    settings = load_settings(ctx)
    if settings.robot.user:
        drop_privileges(settings.robot.user)
    return settings


def _keys(settings: Settings, make: bool = True) -> Pgp:
    """Return gpg with the robot's key directory, made if need be."""
    from spamcannibal.commands.robot_tools import KEYS_FOLDER, how
    from spamcannibal.robot.pgp import Pgp

    home = Path(settings.robot.path)
    try:
        for folder in (home, home / KEYS_FOLDER) if make else ():
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        hint = f"make it for the robot's user: install -d -m 700 -o USER {home}"
        raise ConfigError(f"robot.path: {error.filename}: {error.strerror}; {hint}") from None
    return Pgp(home / KEYS_FOLDER, how(settings.robot))


def _show_keys(settings: Settings, keys: Iterable[Key], as_json: bool) -> None:
    names = {each.fingerprint.upper(): each.name for each in settings.robot.submitter if each.fingerprint}
    rows = [
        {
            "fingerprint": each.fingerprint,
            "users": list(each.user_ids),
            "state": each.state or "usable",
            "expires": when(each.expires_s * 1000),
            "own": each.is_own,
            "submitter": names.get(each.fingerprint),
        }
        for each in keys
    ]
    emit(rows, KEY_COLUMNS, as_json)


def _line(name: str, outcome: Outcome, as_json: bool) -> str:
    """Return what came of a message, as a line."""
    if as_json:
        keys = [format_key(each) for each in outcome.keys]
        return json.dumps({"message": name, "kind": outcome.kind, "keys": keys, "said": outcome.lines()})
    return printable(f"{name}: {outcome.title}: {'; '.join(outcome.lines())}")
