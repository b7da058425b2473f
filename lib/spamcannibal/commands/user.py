"""`spamcannibal user`: who may administrate by the web."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from spamcannibal.commands.common import dry_run_option, emit, json_option, load_settings, open_store
from spamcannibal.errors import SpamCannibalError
from spamcannibal.rows import when

if TYPE_CHECKING:
    from spamcannibal.store.stores import Store
    from spamcannibal.web.users import User, Users

COLUMNS = ("user", "role", "code", "made", "login")
ROLES = ("viewer", "editor", "owner")
LINE_LIMIT = 4096

name_argument = click.argument("name")
password_option = click.option(
    "--password-file",
    type=click.File("rb"),
    metavar="FILE",
    help="Its first line is the password; - is standard input.",
)


@click.group()
def command() -> None:
    """Make, show, change and remove the users of the administration pages (/admin).

    A viewer sees, an editor changes the list, an owner changes users and the never-list, too. Passwords are never given
    on the command line: they are asked for, or read from a file.

    \b
    Examples:
      spamcannibal user add alice --role owner
      spamcannibal user totp alice
    """


@command.command()
@name_argument
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True, help="What the user may.")
@password_option
@dry_run_option
@json_option
@click.pass_context
def add(
    ctx: click.Context, name: str, role: str, password_file: IO[bytes] | None, dry_run: bool, as_json: bool
) -> None:
    """Make a user NAME: letters a-z, digits, dot, hyphen, underscore.

    \b
    Examples:
      spamcannibal user add alice --role owner
      pass show spamcannibal/bob | spamcannibal user add bob --role editor --password-file -
    """
    from spamcannibal.web import passwords
    from spamcannibal.web.users import NAME_FORM, is_name

    if not is_name(name):
        raise click.BadParameter(f"want {NAME_FORM}", param_hint="NAME")
    password = _password(password_file)
    passwords.check(password, name)
    with _users(ctx) as (users, _):
        if users.get(name):
            raise SpamCannibalError(f"there is a user {name} already")
        if not dry_run:
            users.add(name, role, password, time.time())
        _tell([{"user": name, "done": "made", "role": role}], as_json, dry_run)


@command.command(name="list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Show the users: role, whether they use one-time passwords, when they were made and logged in last.

    \b
    Examples:
      spamcannibal user list
      spamcannibal user list --json
    """
    with _users(ctx) as (users, _):
        emit([_row(name, user) for name, user in users.all()], COLUMNS, as_json)


@command.command()
@name_argument
@dry_run_option
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, dry_run: bool, as_json: bool) -> None:
    """Remove user NAME, and end all his sessions. The only owner stays.

    \b
    Examples:
      spamcannibal user remove bob
    """
    _change(ctx, name, "removed", dry_run, as_json, lambda users: users.remove(name))


@command.command()
@name_argument
@password_option
@dry_run_option
@json_option
@click.pass_context
def password(ctx: click.Context, name: str, password_file: IO[bytes] | None, dry_run: bool, as_json: bool) -> None:
    """Give user NAME a new password, and end all his sessions.

    \b
    Examples:
      spamcannibal user password alice
    """
    from spamcannibal.web import passwords

    text = _password(password_file)
    passwords.check(text, name)
    _change(ctx, name, "new password", dry_run, as_json, lambda users: users.set_password(name, text))


@command.command()
@name_argument
@click.argument("role", type=click.Choice(ROLES))
@dry_run_option
@json_option
@click.pass_context
def role(ctx: click.Context, name: str, role: str, dry_run: bool, as_json: bool) -> None:
    """Make user NAME a viewer, editor or owner, and end all his sessions.

    \b
    Examples:
      spamcannibal user role bob editor
    """
    _change(ctx, name, role, dry_run, as_json, lambda users: users.set_role(name, role))


@command.command()
@name_argument
@click.option("--off", is_flag=True, help="He needs no one-time password any more, as when his telephone is lost.")
@dry_run_option
@json_option
@click.pass_context
def totp(ctx: click.Context, name: str, off: bool, dry_run: bool, as_json: bool) -> None:
    """Let user NAME log in only with a one-time password beside the other; show the new secret, once.

    Each user can do so on his own page, too.

    \b
    Examples:
      spamcannibal user totp alice
      spamcannibal user totp alice --off
    """
    from spamcannibal.web.totp import new_secret, uri

    secret = "" if off else new_secret()
    done = "off" if off else "on"
    more = {} if off or dry_run else {"secret": secret, "uri": uri(secret, name, load_settings(ctx).web.name)}
    _change(ctx, name, done, dry_run, as_json, lambda users: users.set_secret(name, secret), more)


@command.command()
@name_argument
@dry_run_option
@json_option
@click.pass_context
def unlock(ctx: click.Context, name: str, dry_run: bool, as_json: bool) -> None:
    """Forget the failed logins of user NAME, so that nobody has to wait who tries as him.

    \b
    Examples:
      spamcannibal user unlock alice
    """
    from spamcannibal.web.signin import attempts, forget_tries

    with _users(ctx) as (users, store):
        _known(users, name)
        count = 0 if dry_run else forget_tries(attempts(store.env), name, time.time())
        _tell([{"user": name, "done": "unlocked", "places": None if dry_run else count}], as_json, dry_run)


def _change(
    ctx: click.Context,
    name: str,
    done: str,
    dry_run: bool,
    as_json: bool,
    change: "Callable[[Users], Any]",
    more: dict[str, str] | None = None,
) -> None:
    with _users(ctx) as (users, _):
        _known(users, name)
        if not dry_run:
            change(users)
        _tell([{"user": name, "done": done, **(more or {})}], as_json, dry_run)


@contextmanager
def _users(ctx: click.Context) -> "Iterator[tuple[Users, Store]]":
    from spamcannibal.web.users import Users

    store = open_store(load_settings(ctx))
    try:
        yield Users(store.env), store
    finally:
        store.close()


def _known(users: "Users", name: str) -> None:
    if users.get(name) is None:
        raise SpamCannibalError(f"there is no user {name}" if name.isprintable() else "there is no such user")


def _password(file: IO[bytes] | None) -> str:
    """Return the first line of a file, or what is typed, twice."""
    if file is None:
        if not sys.stdin.isatty():
            raise click.UsageError("no terminal to ask for the password; see --password-file")
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
        return text
    line = file.readline(LINE_LIMIT)
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise click.BadParameter("the password is not UTF-8", param_hint="--password-file") from None


def _row(name: str, user: "User") -> dict[str, Any]:
    code = "yes" if user.secret else "no"
    return {"user": name, "role": user.role, "code": code, "made": when(user.made_ms), "login": when(user.login_ms)}


def _tell(rows: list[dict[str, Any]], as_json: bool, dry_run: bool) -> None:
    emit(rows, tuple(rows[0]), as_json, "would do" if dry_run else "")
