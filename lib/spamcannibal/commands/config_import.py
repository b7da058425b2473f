"""`spamcannibal config import-perl`: the original's settings files as ours."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spamcannibal.commands.common import config_path, dry_run_option, emit, json_option
from spamcannibal.errors import ConfigError, WireError

if TYPE_CHECKING:
    from spamcannibal.oldconf.perl import Node

FILE_LIMIT_BYTES = 16 << 20
INCLUDE_LIMIT = 8
SHARED = (
    Path(sys.prefix) / "share/spamcannibal/conf/lists.d",
    Path(__file__).parents[3] / "conf/lists.d",  # a checkout's
)


@click.command("import-perl")
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o", "--output", metavar="DIRECTORY", type=click.Path(), help="Write files here instead of printing them."
)
@dry_run_option
@json_option
@click.pass_context
def import_perl(ctx: click.Context, files: tuple[str, ...], output: str | None, dry_run: bool, as_json: bool) -> None:
    """Make settings of the original's sc_BlackList.conf, dnsbls.conf and sc_mailfilter.conf.

    FILES are read as data, never run; what they INCLUDE is read, too. DIRECTORY, the one of spamcannibal.toml, gets
    conf.d/imported.toml, lists.d/imported.toml, never-list.imported, block-list and generic-ptr.imported, as far as
    there is something to say. What has no place here is told in comments of the first.

    Exit 1 if a file of that name was there, which is left alone; 65 if FILES are not the data that was expected; 78 if
    one can't be read or written.

    \b
    Examples:
      spamcannibal config import-perl /usr/local/spamcannibal/config/*.conf
      spamcannibal config import-perl sc_BlackList.conf dnsbls.conf -o /etc/spamcannibal
    """
    from spamcannibal.oldconf.convert import convert
    from spamcannibal.oldconf.reader import Imported
    from spamcannibal.oldconf.render import render

    imported, known = Imported(), _known(ctx)
    for file in files:
        for name, found in _read(Path(file), 0):
            convert(found, name, known, imported)
    texts = render(imported, files)
    if output is None:
        for name, text in texts.items():
            click.echo(f"# ==== {name}\n{text}")
        return
    rows = [_write(Path(output) / name, text, dry_run) for name, text in texts.items()]
    emit(rows, ("file", "lines", "done"), as_json, "would do" if dry_run else "")
    if imported.notes:
        click.echo(
            f"{len(imported.notes)} notes on what has no place: see the comments of {next(iter(texts))}", err=True
        )
    ctx.exit(0 if all(row["done"] != "exists, left alone" for row in rows) else 1)


def _read(path: Path, depth: int) -> Iterator[tuple[str, "Mapping[str, Node]"]]:
    """Yield the hash of a file without the keys that a file which it includes replaces, then those of that file."""
    from spamcannibal.oldconf.perl import parse

    if depth > INCLUDE_LIMIT:
        raise WireError(f"{path}: INCLUDE goes more than {INCLUDE_LIMIT} files deep, or round")
    found = parse(_text(path), str(path)).value
    if not isinstance(found, dict):
        raise WireError(f"{path}: a list, want a hash of settings")
    include = found.pop("INCLUDE", None)
    inner = list(_read(path.parent / include.value, depth + 1)) if include and isinstance(include.value, str) else []
    replaced = {key for _, each in inner for key in each}
    yield str(path), {key: node for key, node in found.items() if key not in replaced}
    yield from inner


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > FILE_LIMIT_BYTES:
        raise WireError(f"{path}: too long, want at most {FILE_LIMIT_BYTES} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _known(ctx: click.Context) -> dict[str, str]:
    """Return the zones that lists.d has, the settings' own or the shipped one, each with a remark."""
    from spamcannibal.config import read
    from spamcannibal.remote.catalogue import read_lists

    own = Path(read(config_path(ctx), os.environ).draft.remote.lists_dir)
    folder = next((each for each in (own, *SHARED) if each.is_dir()), own)
    return {zone: f"dead, {one.dead}" if one.dead else f"in {folder}" for zone, one in read_lists(folder, []).items()}


def _write(path: Path, text: str, dry_run: bool) -> dict[str, object]:
    """Write one file unless it exists; return the row that tells what was done."""
    done = "exists, left alone" if path.exists() else "written"
    if done == "written" and not dry_run:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise ConfigError(f"can't write {path}: {error.strerror}") from None
    return {"file": str(path), "lines": text.count("\n"), "done": done}
