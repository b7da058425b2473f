"""Imported -> the files that are written: settings and lists as TOML, and lines. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spamcannibal.oldconf.reader import Imported

SETTINGS, LISTS = "conf.d/imported.toml", "lists.d/imported.toml"
NEVER, BLOCK, GENERIC = "never-list.imported", "block-list", "generic-ptr.imported"
NOTE_LIMIT = 400
NOTES_LIMIT = 1000


def render(imported: Imported, sources: Iterable[str]) -> dict[str, str]:
    """Return the text of each file that has something to say, by its path beside spamcannibal.toml."""
    origin = f"# Imported from {', '.join(map(_printable, sources))}."
    files = {SETTINGS: [origin, *_notes(imported), *_settings(imported)]}
    if imported.lists:
        files[LISTS] = [origin, *_tables("list", imported.lists)]
    if imported.never:
        files[NEVER] = [origin, "# Add these lines to the never-list.", *dict.fromkeys(imported.never)]
    if imported.block:
        files[BLOCK] = [origin, *dict.fromkeys(imported.block)]
    if imported.generic:
        files[GENERIC] = [origin, "# As in the original these match anywhere in a name.", *imported.generic]
    return {name: "\n".join(lines).rstrip("\n") + "\n" for name, lines in files.items()}


def _notes(imported: Imported) -> Iterator[str]:
    if imported.never:
        yield f"# The lines of {NEVER} belong into the never-list: add them there."
    yield from (f"# {_printable(note)[:NOTE_LIMIT]}" for note in imported.notes[:NOTES_LIMIT])
    if len(imported.notes) > NOTES_LIMIT:
        yield f"# … and {len(imported.notes) - NOTES_LIMIT} more"


def _settings(imported: Imported) -> Iterator[str]:
    for section, values in imported.settings.items():
        yield from ("", f"[{section}]")
        yield from (f"{key} = {_literal(key, value)}" for key, value in values.items())
    yield from _tables("dnsbl.zone", imported.zones)


def _tables(name: str, tables: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield arrays of tables; lists of tables in them follow as arrays of their own, dicts are sets in order."""
    for table in tables:
        inner = {key: value for key, value in table.items() if _is_tables(value)}
        yield from ("", f"[[{name}]]")
        yield from (f"{key} = {_literal(key, value)}" for key, value in table.items() if key not in inner)
        for key, values in inner.items():
            for each in values:
                yield f"[[{name}.{key}]]"
                yield from (f"{part} = {_literal(part, value)}" for part, value in each.items())


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _literal(key: str, value: Any) -> str:
    """Return a value as TOML: what JSON has for ASCII texts, numbers, booleans and lists."""
    if key.endswith("_s") and isinstance(value, int):
        unit, size = next((pair for pair in (("d", 86_400), ("h", 3600), ("m", 60)) if value % pair[1] == 0), ("s", 1))
        return f'"{value // size}{unit}"'
    return json.dumps(list(value) if isinstance(value, dict) else value).replace("\x7f", "\\u007f")


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
