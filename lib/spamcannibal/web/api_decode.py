"""Path, query and body of a request into strict structs; what is wrong with them names the field. Pure."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from spamcannibal.decode import nearest, shown, shown_key
from spamcannibal.web.api_problem import Problem

NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", re.IGNORECASE)
DEPTH_FIELD = re.compile(r" - at `\$\.?([^`]*)`")


def decode_pairs(pairs: Iterable[tuple[str, str]], kind: type[msgspec.Struct], where: str) -> Any:
    """Return the struct of a path's or query's texts; Problem if one is unknown, twice there, or wrong."""
    fields = msgspec.structs.fields(kind)
    names = {field.encode_name for field in fields}
    values: dict[str, str] = {}
    times = _times(kind)
    for name, text in pairs:
        if name not in names:
            raise Problem("bad-request", f"{where}: unknown {shown_key(name)}{_want(name, names)}", field=name[:100])
        if name in values:
            raise Problem("bad-request", f"{where}: {name} is there twice", field=name)
        if name in times and NUMBER.fullmatch(text):  # msgspec would take seconds since 1970, and a year for them
            raise refused(name, text, "a time as 2027-01-15T08:00:00Z")
        values[name] = text
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _wrong(error, where) from None


@lru_cache(64)
def _times(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of a struct's fields that are times."""
    found = set()
    for field in msgspec.structs.fields(kind):
        wanted = inspect.type_info(field.type)
        wanted = wanted.type if isinstance(wanted, inspect.Metadata) else wanted
        kinds = wanted.types if isinstance(wanted, inspect.UnionType) else (wanted,)
        if any(isinstance(each, inspect.DateTimeType) for each in kinds):
            found.add(field.encode_name)
    return frozenset(found)


def decode_body(data: bytes, kind: type[msgspec.Struct]) -> Any:
    """Return the struct of a JSON text."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(error, "body") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad-request", f"body: not JSON: {error}") from None


def _want(name: str, names: set[str]) -> str:
    return nearest(name, sorted(names)) if names else ": nothing is taken"


def _wrong(error: msgspec.ValidationError, where: str) -> Problem:
    text = str(error)
    found = DEPTH_FIELD.search(text)
    field = found[1] if found else ""
    said = DEPTH_FIELD.sub("", text).replace("`", "")
    missing = re.search(r"(?:missing required|unknown) field (\S+)", said)
    if missing:
        field = f"{field}.{missing[1]}".strip(".")
    return Problem("bad-request", f"{where}: {shown_key(field) + ': ' if field else ''}{said}", field=field or None)


def refused(field: str, text: str, want: str) -> Problem:
    """Return the problem of a field whose value no type can judge."""
    return Problem("bad-request", f"{field}: got {shown(text)}, want {want}", field=field)
