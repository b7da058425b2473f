"""Strict decoding of TOML tables into structs: every mistake becomes a line that names file and key.

In: a struct type and its table as key -> (value, file). Out: the struct, and lines `file: section.key: what is wrong,
got X, want Y` in a list, so that one run reports all of them; a wrong value is replaced by its default meanwhile.

A key ends in its unit: `_s` takes seconds as a number or a text with ms, s, m, h, d, w ("15m"), `_bytes` a number or a
text with B, kB, MB, GB, KiB, MiB, GiB ("64MiB"). What a type can't say is a check: a predicate and what it wants, held
by (struct type, key); a list is judged item by item.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

Pairs = Mapping[str, tuple[Any, str]]
Checks = Mapping[tuple[type[Struct], str], tuple[Callable[[str], bool], str]]

DURATIONS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800}
SIZES = {"": 1, "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
UNITS = {"_s": DURATIONS, "_bytes": SIZES}


class Decoder(Struct, frozen=True):
    """Decodes tables with the given checks; collects `problems`."""

    checks: Checks
    problems: list[str]

    def table(self, kind: type[Struct], pairs: Pairs, file: str, name: str) -> Struct | None:
        """Return the struct of the table `name`, which stands in `file`; None if a required key is missing."""
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values: dict[str, Any] = {}
        for key, (value, origin) in pairs.items():
            where = f"{origin}: {name}.{shown_key(key)}"
            field = fields.get(key)
            if field is None:
                self.problems.append(f"{where}: unknown key{nearest(key, fields)}")
                continue
            inner = _struct_of(field.type)
            try:
                if inner:
                    values[key] = self._tables(inner, value, origin, f"{name}.{key}")
                else:
                    values[key] = _value(key, field.type, value, self.checks.get((kind, key)))
            except ValueError as error:
                self.problems.append(f"{where}: {error}")
                values[key] = None if field.required else field.default
        missing = [key for key, field in fields.items() if field.required and key not in values]
        self.problems.extend(f"{file}: {name}.{key}: missing" for key in missing)
        return None if missing else kind(**values)

    def _tables(self, kind: type[Struct], value: Any, file: str, name: str) -> tuple[Struct, ...]:
        """Return the structs of an array of tables."""
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            raise ValueError(f"wrong value, got {shown(value)}, want tables")
        made = (
            self.table(kind, {key: (each, file) for key, each in table.items()}, file, f"{name}[{i}]")
            for i, table in enumerate(value)
        )
        return tuple(table for table in made if table is not None)


def parse_quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Return a number with one of the units ("1.5h" with DURATIONS is 5400.0), None if the text is not that."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", text)
    unit = units.get(match[2]) if match else None
    return float(match[1]) * unit if match and unit is not None else None


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ", did you mean X?" for the nearest of the words, or their list when none is near."""
    import difflib  # here, since only mistakes need it

    words = tuple(words)
    found = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f", did you mean {found[0]}?" if found else f", want one of {', '.join(words)}"


def shown(value: Any) -> str:
    """Return an outside value for a message: escaped and cut."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def shown_key(key: str) -> str:
    """Return a key for a message: as it is when it is a bare key of TOML, else escaped and cut."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", key) else shown(key)


def _struct_of(kind: Any) -> type[Struct] | None:
    """Return the struct type that an array of tables holds, None for any other type."""
    item = get_args(kind)[0] if get_origin(kind) is tuple else None
    return item if isinstance(item, type) and issubclass(item, Struct) else None


def _value(key: str, kind: Any, value: Any, check: tuple[Callable[[str], bool], str] | None) -> Any:
    """Return one value as its type; ValueError says what is wrong with it."""
    is_list = get_origin(kind) is tuple
    converted = _with_unit(key, value)
    try:
        converted = msgspec.convert(converted, kind)
    except msgspec.ValidationError as error:
        wanted = _wanted(get_args(kind)[0] if is_list else kind, str(error))
        raise ValueError(f"wrong value, got {shown(value)}, want {wanted}") from None
    items = converted if is_list else (converted,)
    wrong = next((item for item in items if check and not check[0](item)), None)
    if check and wrong is not None:
        raise ValueError(f"wrong value, got {shown(wrong)}, want {check[1]}")
    if len(set(items)) < len(items):
        raise ValueError(f"the same value twice, got {shown(value)}")
    return converted


def _with_unit(key: str, value: Any) -> Any:
    """Return the number of a text with a unit if the key's name ends in one; ValueError if it is no such text."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"wrong value, got {value}, want a finite number")
    units = next((units for end, units in UNITS.items() if key.endswith(end)), None)
    if units is None or not isinstance(value, str):
        return value
    number = parse_quantity(value, units)
    if number is None:
        raise ValueError(f"wrong value, got {shown(value)}, want a number with one of {' '.join(filter(None, units))}")
    return int(number) if number == int(number) else number


def _wanted(kind: Any, error: str) -> str:
    """Say what a type wants: its literals, else what msgspec expected."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    expected = re.match(r"Expected (.*?)(?:, got .*?)?(?: - at .*)?$", error)
    return expected[1].replace("`", "") if expected else error
