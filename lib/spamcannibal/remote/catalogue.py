"""Files about remote lists: lists.d/*.toml, the keys of keyed zones, and resolv.conf."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from spamcannibal.addr import parse_addr, parse_endpoint
from spamcannibal.checks import is_endpoint, is_name
from spamcannibal.decode import nearest
from spamcannibal.errors import AddrError, ConfigError
from spamcannibal.remote.lists import RemoteList, decode_lists
from spamcannibal.settings.remote import RemoteSettings

FILE_LIMIT_BYTES = 1 << 20
KEY_LIMIT_BYTES = 300
RESOLVERS_LIMIT = 8
RESOLV_CONF = Path("/etc/resolv.conf")
DNS_PORT = 53

Endpoint = tuple[bytes, int]


def read_lists(folder: Path, problems: list[str]) -> dict[str, RemoteList]:
    """Return all lists of the folder's files by zone; what is wrong goes into the problems."""
    found: dict[str, RemoteList] = {}
    if not folder.is_dir():
        problems.append(f"remote.lists_dir: {folder}: no such directory; a sample is conf/lists.d")
    for file in sorted(folder.glob("*.toml")):
        text = _read(file, FILE_LIMIT_BYTES, problems)
        for one in decode_lists(text, str(file), problems):
            if one.zone in found:
                problems.append(f"{file}: list: the same zone twice in {folder}, got {one.zone}")
            elif one.key_file:
                found[one.zone] = replace(one, key_file=str(file.parent / one.key_file))
            else:
                found[one.zone] = one
    return found


def chosen(remote: RemoteSettings, warn: Callable[[str], None] = lambda line: None) -> tuple[RemoteList, ...]:
    """Return the lists that the settings name, in their order; ConfigError with all problems if there are any.

    Lists that are dead are left out, each with a warning.
    """
    problems: list[str] = []
    known = read_lists(Path(remote.lists_dir), problems) if remote.lists else {}
    lists = []
    for zone in dict.fromkeys(map(str.lower, remote.lists)):
        one = known.get(zone)
        if one is None:
            where = f"is in no file of {remote.lists_dir}{nearest(zone, known) if known else ''}"
            problems.append(f"remote.lists: no such list: {zone} {where}")
        elif one.dead:
            warn(f"remote.lists: {zone} is dead, {one.dead}: not asked; take it out of the settings")
        else:
            lists.append(one)
    if problems:
        raise ConfigError(*problems)
    return tuple(lists)


def read_key(one: RemoteList) -> str:
    """Return the key of a keyed zone, "" for others; ConfigError does not tell the key."""
    if not one.key_file:
        return ""
    problems: list[str] = []
    text = _read(Path(one.key_file), KEY_LIMIT_BYTES, problems).strip()
    if not problems and not is_name(text):
        problems.append(f"{one.key_file}: wrong key for {one.zone}, got {len(text)} characters, want labels of a name")
    if problems:
        raise ConfigError(*problems)
    return text


def resolvers(remote: RemoteSettings, path: Path = RESOLV_CONF) -> list[Endpoint]:
    """Return whom to ask: the resolvers of the settings, else of the system, as that has them by default."""
    found = [parse_endpoint(text) if is_endpoint(text) else (parse_addr(text), DNS_PORT) for text in remote.resolvers]
    if not found:
        found = system_resolvers(_read(path, FILE_LIMIT_BYTES, [])) or [(bytes((127, 0, 0, 1)), DNS_PORT)]
    return list(dict.fromkeys(found))[:RESOLVERS_LIMIT]


def system_resolvers(text: str) -> list[Endpoint]:
    """Return the name servers of resolv.conf(5); those with a zone identifier are left out."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append((parse_addr(words[1]), DNS_PORT))
            except AddrError:
                continue
    return found


def _read(file: Path, limit_bytes: int, problems: list[str]) -> str:
    """Return a file's text, "" with a problem if that can't be."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(limit_bytes + 1)
        if len(raw) <= limit_bytes:
            return raw.decode()
        problems.append(f"{file}: too long, want at most {limit_bytes} bytes")
    except OSError as error:
        problems.append(f"{file}: can't be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{file}: not UTF-8")
    return ""
