"""Settings: one TOML file and its conf.d in, one frozen Settings out, every mistake named.

Read are FILE and then the *.toml of its sibling directory conf.d in the order of their names; a later file overrides
key by key (a list, [[dnsbl.zone]] too, as a whole). FILE is what the caller names, else $SPAMCANNIBAL_CONFIG, else
/etc/spamcannibal/spamcannibal.toml; only the last may be missing, which leaves the defaults below.

Values are decoded strictly (decode.py): unknown keys are errors, `_s` and `_bytes` keys take units. Paths are relative
to the directory of FILE. conf/spamcannibal.toml explains each key.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from spamcannibal.decode import Decoder, Pairs, nearest, shown, shown_key
from spamcannibal.errors import ConfigError
from spamcannibal.settings import CHECKS, Settings, conflicts, resolved

DEFAULT_PATH = Path("/etc/spamcannibal/spamcannibal.toml")
ENVIRONMENT_KEY = "SPAMCANNIBAL_CONFIG"
FILE_LIMIT_BYTES = 1 << 20


class Reading(msgspec.Struct, frozen=True):
    """What came of reading. `draft` has defaults where something is wrong; `origins` is "section.key" -> file."""

    draft: Settings
    problems: tuple[str, ...]
    files: tuple[Path, ...]
    origins: Mapping[str, str]

    @property
    def settings(self) -> Settings | None:
        """The settings, None if there are problems."""
        return None if self.problems else self.draft


def load(path: str | Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Return the settings; ConfigError with all problems if there are any."""
    reading = read(path, env)
    if reading.settings is None:
        raise ConfigError(*reading.problems)
    return reading.settings


def read(path: str | Path | None = None, env: Mapping[str, str] | None = None) -> Reading:
    """Read the settings and collect every problem instead of stopping at the first."""
    main, files = _find(path, env or {})
    problems: list[str] = []
    sections: dict[str, tuple[str, dict[str, tuple[Any, str]]]] = {}
    for file in files:
        for name, table in _read_file(file, problems).items():
            if not isinstance(table, dict):
                wrong = f"not a section, got {shown(table)}, want [{shown_key(name)}]"
                problems.append(f"{file}: {shown_key(name)}: {wrong}")
                continue
            _, pairs = sections.get(name, ("", {}))
            sections[name] = str(file), pairs | {key: (value, str(file)) for key, value in table.items()}
    origins = {f"{name}.{key}": origin for name, (_, pairs) in sections.items() for key, (_, origin) in pairs.items()}
    settings = _settings(sections, problems)
    if not problems:
        problems += [f"{origins.get(key, main)}: {key}{wrong}" for key, wrong in conflicts(settings)]
    return Reading(resolved(settings, main.parent), tuple(problems), files, origins)


def _find(path: str | Path | None, env: Mapping[str, str]) -> tuple[Path, tuple[Path, ...]]:
    """Return the main file's path, and the files to read in order."""
    named = path or env.get(ENVIRONMENT_KEY)
    main = Path(named).absolute() if named else DEFAULT_PATH
    head = (main,) if named or main.exists() else ()
    return main, (*head, *sorted((main.parent / "conf.d").glob("*.toml")))


def _read_file(file: Path, problems: list[str]) -> dict[str, Any]:
    """Return a file's tables; what is wrong with it goes into the problems."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(FILE_LIMIT_BYTES + 1)
        if len(raw) > FILE_LIMIT_BYTES:
            raise ValueError(f"too long, want at most {FILE_LIMIT_BYTES} bytes")
        return tomllib.loads(raw.decode())
    except OSError as error:
        problems.append(f"{file}: can't read the settings: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error), re.DOTALL)
        problems.append(f"{file}:{match[2]}: not TOML: {match[1]}, column {match[3]}" if match else f"{file}: {error}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{file}: not TOML: {error}")
    return {}


def _settings(sections: Mapping[str, tuple[str, Pairs]], problems: list[str]) -> Settings:
    """Return the settings of sections given as name -> (file, pairs), the default for what is wrong."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    decoder = Decoder(CHECKS, problems)
    tables = {}
    for name, (file, pairs) in sections.items():
        if name in kinds:
            tables[name] = decoder.table(kinds[name], pairs, file, name)
        else:
            problems.append(f"{file}: {shown_key(name)}: unknown section{nearest(name, kinds)}")
    return Settings(**cast("dict[str, Any]", tables))
