"""Generic PTR names: those that a provider gives to addresses by the thousand, told by a file of patterns.

| line | says |
|---|---|
| PATTERN | a name in which this stands is generic |
| PATTERN PATTERN | a name in which all of these stand, in any order |
| !PATTERN | a name in which this stands is never generic |
| ~REGEX, !~REGEX | the same for one regular expression that may match anywhere in the name |
| WORD = REGEX | {WORD} stands for (?:REGEX) in the lines below |

# begins a comment. A pattern is a regular expression (Python's, case ignored) for whole words of the name, which are
what stands between dots, hyphens and underscores. In it @, % and & stand for the name's own address, whole or in part,
as embedded.py tells, since that is the best evidence there is.

In: the file's text, then an address and its names. Out: the rule by which the names are generic. One name that is not
generic saves the address, and so does having none. An expression's time is bounded (regexes.py), since names are what
strangers chose.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spamcannibal.decode import nearest, shown
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.embedded import marked
from spamcannibal.jobs.regexes import LENGTH_LIMIT, compile_regex

LINES_LIMIT = 20_000
PROBLEMS_LIMIT = 100
NAME_LIMIT = 255  # RFC 1035

_WORD = r"(?<![^._-])(?:%s)(?![^._-])"
_DEFINITION = re.compile(r"([a-z][a-z0-9]*)\s+=\s+(\S+)")
_USE = re.compile(r"\{([a-z][a-z0-9]*)\}")
_MARKS = re.compile("[@%&]")


@dataclass(frozen=True)
class Rule:
    """One line: expressions that must all be found, in the name as it is or with the address marked."""

    where: str
    text: str
    is_exception: bool
    expressions: tuple[re.Pattern[str], ...]
    wants_mark: str = ""

    def takes(self, name: str, marks: str) -> bool:
        """Tell whether the rule takes a name; `marks` is the name with its address marked."""
        if self.wants_mark and self.wants_mark not in marks:
            return False
        subject = marks if self.wants_mark else name
        return all(expression.search(subject) for expression in self.expressions)


class Patterns:
    """The rules of a file."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [rule for rule in rules if not rule.is_exception]
        self._exceptions = [rule for rule in rules if rule.is_exception]

    def __len__(self) -> int:
        return len(self._rules) + len(self._exceptions)

    def find(self, addr: bytes, names: Sequence[str]) -> str | None:
        """Return "NAME:LINE: rule" for the first name if all are generic, None if one is not or there are none."""
        found = None
        for name in names:
            rule = self._find(addr, name.rstrip("."))
            if rule is None:
                return None
            found = found or f"{rule.where}: {rule.text}"
        return found

    def _find(self, addr: bytes, name: str) -> Rule | None:
        """Return the rule that makes one name generic."""
        # What is no host's name proves nothing, least of all by a mark of its own.
        if not name or len(name) > NAME_LIMIT or _MARKS.search(name):
            return None
        name, marks = name.lower(), marked(addr, name)
        if any(rule.takes(name, marks) for rule in self._exceptions):
            return None
        return next((rule for rule in self._rules if rule.takes(name, marks)), None)


def parse_patterns(text: str, name: str) -> Patterns:
    """Return the patterns of the text of the file `name`; ConfigError holds every wrong line, up to a hundred."""
    rules: list[Rule] = []
    words: dict[str, str] = {}
    problems: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if number > LINES_LIMIT or len(problems) >= PROBLEMS_LIMIT:
            problems.append(f"{name}: too long or too wrong, want at most {LINES_LIMIT} lines")
            break
        try:
            definition = _DEFINITION.fullmatch(line)
            if definition:
                words[definition[1]] = f"(?:{_spelled(definition[2], words)})"
            elif line:
                rules.append(_rule(line, words, f"{name}:{number}"))
        except ValueError as error:
            problems.append(f"{name}:{number}: {error}")
    if problems:
        raise ConfigError(*problems)
    return Patterns(rules)


def _rule(line: str, words: Mapping[str, str], where: str) -> Rule:
    """Return the rule of a line; ValueError says what is wrong."""
    is_exception = line.startswith("!")
    body = line[1:].strip() if is_exception else line
    if body.startswith("~"):
        if not body[1:].strip():
            raise ValueError("nothing after ~, want a regular expression")
        return Rule(where, line, is_exception, (compile_regex(body[1:].strip()),))
    patterns = [_spelled(pattern, words) for pattern in body.split()]
    if not patterns:
        raise ValueError("nothing after !, want a pattern")
    marks = {mark for pattern in patterns for mark in _MARKS.findall(pattern)}
    if len(marks) > 1:
        raise ValueError(f"got {' and '.join(sorted(marks))}, want one of them: a name has its address marked once")
    return Rule(where, line, is_exception, tuple(compile_regex(_WORD % each) for each in patterns), "".join(marks))


def _spelled(pattern: str, words: Mapping[str, str]) -> str:
    """Return a pattern with the definitions in place of {WORD}; ValueError for an unknown one."""
    unknown = [word for word in _USE.findall(pattern) if word not in words]
    if unknown:
        raise ValueError(f"unknown word {shown(unknown[0])}{nearest(unknown[0], words)}")
    spelled = _USE.sub(lambda use: words[use[1]], pattern)
    if len(spelled) > LENGTH_LIMIT:
        raise ValueError(f"too long, got {len(spelled)} characters with the words spelled out, want {LENGTH_LIMIT}")
    return spelled
