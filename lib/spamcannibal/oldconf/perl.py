"""Perl data as the original's settings files have it: text in, nodes out. Pure; nothing is ever evaluated.

| form | value |
|---|---|
| 'text' "text" q(text) qq{text} <<TAG | a text; escapes as in Perl, "." joins |
| 12 1_000 0x1f 017 1.5 | the number as text, in decimal; "*" multiplies whole ones |
| /re/ m{re}i qr/re/i | the expression as text, without flags; x is refused |
| qw(a b) ( , ) [ , ] | a list |
| { key => value, } %name = ( ) | a hash; of equal keys the last counts |
| $name | what a text before was assigned to it, in strings too |
| WORD undef | the word as text; nothing |

Around it may stand `my $x =`, `return`, use and package lines, `1;`, comments, POD and __END__. The value of a file is
its last list or hash. All else is an error that says FILE:LINE; so are sizes past the limits below.
"""

import re
from dataclasses import dataclass, field

from spamcannibal.decode import shown
from spamcannibal.errors import WireError
from spamcannibal.oldconf.cursor import PAIRS, Cursor

TEXT_LIMIT = 2 << 20
DEPTH_LIMIT = 32
NODES_LIMIT = 100_000

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "e": "\x1b", "f": "\f", "b": "\b"}
_SINGLE = re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL)
_DOUBLE = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL)
_QUOTE = re.compile(r"(qq|qr|qw|q|m)(?=\s*[^\w\s,;=)]|\s+[^\w\s,;=)#])(?!\s*=>)")
_HEREDOC = re.compile(r"<<(~?)(?:\"([^\"\n]*)\"|'([^'\n]*)'|([A-Za-z_]\w*))")
_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*(?:\.[0-9_]+)?(?:[eE][-+]?[0-9]+)?)")
_WORD = re.compile(r"-?[A-Za-z_]\w*(?:::\w+)*")
_NAME = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_INSIDE = re.compile(
    r"\\(?:x\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))|\$\{?([A-Za-z_]\w*)\}?|([$@])", re.DOTALL
)
_SKIPPED = re.compile(r"(?:use|no|package|require)\b[^;\n]*;|[0-9]+\s*;|;")
_DECLARED = re.compile(r"(?:(?:my|our|local)\b\s*)?([$%@])([A-Za-z_][\w:]*)\s*=(?![=~>])\s*")
_RETURN = re.compile(r"return\b\s*")
_COMMAS = re.compile(r"(?:\s*(?:,|=>))+")
_FLAGS = re.compile(r"[a-z]*")
_ARROW = re.compile(r"\s*=>")
_STOP = re.compile(r";|__(?:END|DATA)__\b")


@dataclass
class Node:
    """A value and the line where it begins: a text, a list of nodes, nodes by key, or None for undef."""

    line: int
    value: str | list["Node"] | dict[str, "Node"] | None


def parse(text: str, name: str) -> Node:
    """Return the value of a file's text; WireError says "NAME:LINE: what is wrong"."""
    if len(text) > TEXT_LIMIT:
        raise WireError(f"{name}: too long, got {len(text)} characters, want at most {TEXT_LIMIT}")
    return _Parser(Cursor(text.replace("\r\n", "\n"), name)).file()


@dataclass
class _Parser:
    cursor: Cursor
    depth: int = 0
    nodes: int = 0
    filled: int = 0  # characters that variables put into texts
    names: dict[str, Node] = field(default_factory=dict)

    def file(self) -> Node:
        found: Node | None = None
        while self.cursor.skip():
            if self.cursor.take(_SKIPPED):
                continue
            if _STOP.match(self.cursor.text, self.cursor.at):
                break
            made = self.statement()
            if isinstance(made.value, dict | list):
                found = made
        if found is None:
            raise self.cursor.wrong("nothing found", "a hash { ... }")
        return found

    def statement(self) -> Node:
        self.cursor.take(_RETURN)
        declared = self.cursor.take(_DECLARED)
        made = self.term()
        if declared:
            self.names[declared[2]] = _as_hash(made, self) if declared[1] == "%" else made
            made = self.names[declared[2]]
        if self.cursor.skip() and not _STOP.match(self.cursor.text, self.cursor.at):
            raise self.cursor.wrong(f"got {shown(self.cursor.rest())} after a value", "; or the end")
        return made

    def term(self) -> Node:
        """Read a value, or texts joined by "."."""
        made = self.factor()
        if not self.sees("."):
            return made
        parts = [self.text_of(made)]
        while self.sees("."):
            self.cursor.at += 1
            parts.append(self.text_of(self.factor()))
        return Node(made.line, "".join(parts))

    def factor(self) -> Node:
        """Read a value, or whole numbers multiplied by "*"."""
        made = self.single()
        while self.sees("*"):
            self.cursor.at += 1
            made = Node(made.line, self.product(self.text_of(made), self.text_of(self.single())))
        return made

    def sees(self, sign: str) -> bool:
        """Tell whether a sign stands here, and not twice: ".." and "**" are other operators."""
        here = self.cursor.text[self.cursor.at : self.cursor.at + 2] if self.cursor.skip() else ""
        return here.startswith(sign) and here != sign * 2

    def text_of(self, node: Node) -> str:
        if not isinstance(node.value, str):
            raise self.cursor.wrong("an operator beside what is no text", "texts or numbers")
        return node.value

    def single(self) -> Node:
        if not self.cursor.skip():
            raise self.cursor.wrong("the file ends", "a value")
        line, text, at = self.cursor.line(), self.cursor.text, self.cursor.at
        self.count(1)
        char = text[at]
        if char in "'\"":
            return Node(line, self.quoted(char))
        if char in "[({" or (char == "+" and text.startswith("{", at + 1)):
            self.cursor.at += char == "+"
            return self.container(line)
        if char == "<" and (match := self.cursor.take(_HEREDOC)):
            return Node(line, self.heredoc(match))
        if char == "/":
            return Node(line, self.regex(*self.cursor.delimited()))
        if char == "$":
            return self.variable(line)
        if match := self.cursor.take(_QUOTE):
            return self.quote_like(match[1], line)
        if match := self.cursor.take(_NUMBER):
            return Node(line, self.number(match[0]))
        if match := self.cursor.take(_WORD):
            return self.word(match[0], line)
        raise self.cursor.wrong(f"got {shown(self.cursor.rest())}", "a text, a number, a list or a hash")

    def count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > NODES_LIMIT:
            raise self.cursor.wrong("too many values", f"at most {NODES_LIMIT}")

    def container(self, line: int) -> Node:
        """Read a list or a hash."""
        opening = self.cursor.text[self.cursor.at]
        closing = PAIRS[opening]
        self.cursor.at += 1
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise self.cursor.wrong("nested too deep", f"at most {DEPTH_LIMIT} levels")
        items: list[Node] = []
        while True:
            if not self.cursor.skip():
                raise WireError(f"{self.cursor.name}:{line}: {opening} is never closed, want {closing}")
            if self.cursor.text.startswith(closing, self.cursor.at):
                break
            is_flat = self.cursor.text.startswith(("(", "qw"), self.cursor.at)
            item = self.term()
            items.extend(item.value if is_flat and isinstance(item.value, list) else [item])
            self.cursor.skip()
            if not self.cursor.take(_COMMAS) and not self.cursor.text.startswith(closing, self.cursor.at):
                raise self.cursor.wrong(f"got {shown(self.cursor.rest())} after a value", f", or {closing}")
        self.cursor.at += 1
        self.depth -= 1
        made = Node(line, items)
        return _as_hash(made, self) if opening == "{" else made

    def word(self, word: str, line: int) -> Node:
        if word == "undef" and not _ARROW.match(self.cursor.text, self.cursor.at):
            return Node(line, None)
        if self.cursor.skip() and self.cursor.text.startswith("(", self.cursor.at):
            raise self.cursor.wrong(f"a call of {shown(word)}", "plain data; write what it gives")
        return Node(line, word)

    def variable(self, line: int) -> Node:
        match = _NAME.match(self.cursor.text, self.cursor.at)
        known = self.names.get(match[1]) if match else None
        # Inside of something only texts: lists of lists of the same list would grow without end.
        if match is None or known is None or (self.depth and not isinstance(known.value, str)):
            raise self.cursor.wrong(f"got {shown(self.cursor.rest())}, a variable that has no text here", "plain data")
        self.cursor.at = match.end()
        return Node(line, known.value)

    def quoted(self, quote: str) -> str:
        match = (_SINGLE if quote == "'" else _DOUBLE).match(self.cursor.text, self.cursor.at)
        if match is None:
            raise self.cursor.wrong(f"a text that never ends, got {shown(self.cursor.rest())}", quote)
        inside = self.inside(match[1]) if quote == '"' else _single(match[1])
        self.cursor.at = match.end()
        return inside

    def inside(self, text: str) -> str:
        """Return a double-quoted text with its escapes and variables."""
        return _INSIDE.sub(self.escaped, text)

    def escaped(self, match: re.Match[str]) -> str:
        wide, narrow, octal, char, name, sign = match.groups()
        if sign:
            raise self.cursor.wrong(f'an unescaped "{sign}" in a text', f"\\{sign}, or the text in single quotes")
        if name:
            known = self.names.get(name)
            if known is None or not isinstance(known.value, str):
                raise self.cursor.wrong(f"${name} in a text, a variable that has no text here", "plain data")
            self.filled += len(known.value)
            if self.filled > TEXT_LIMIT:
                raise self.cursor.wrong("variables in texts make too much of them", f"at most {TEXT_LIMIT} characters")
            return known.value
        if wide or narrow or octal:
            code = int(octal, 8) if octal else int(wide or narrow, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise self.cursor.wrong(f"no character has the number {code:#x}", "a code point of Unicode")
            return chr(code)
        return _ESCAPES.get(char, char)

    def quote_like(self, kind: str, line: int) -> Node:
        self.cursor.skip()
        body, quote = self.cursor.delimited()
        if kind == "qw":
            words = body.split()
            self.count(len(words))
            return Node(line, [Node(line, word) for word in words])
        if kind in ("m", "qr"):
            return Node(line, self.regex(body, quote))
        return Node(line, self.inside(body) if kind == "qq" else _single(body))

    def regex(self, body: str, quote: str) -> str:
        """Return an expression, once its flags are read: case is ignored by all that the original does with it."""
        flags = self.cursor.take(_FLAGS)
        if flags and "x" in flags[0]:
            raise self.cursor.wrong("an expression with the flag x", "one without blanks and comments in it")
        return body.replace(f"\\{quote}", quote) if quote in "/!~'\"%," else body

    def heredoc(self, match: re.Match[str]) -> str:
        indented, double, single, bare = match.groups()
        tag = next(each for each in (double, single, bare, "") if each is not None)
        body = self.cursor.heredoc(tag, bool(indented))
        return body if single is not None else self.inside(body)

    def number(self, text: str) -> str:
        rest = self.cursor.rest()
        if re.match(r"\.[0-9]", rest) and re.fullmatch(r"[0-9]+\.[0-9]+", text):
            raise self.cursor.wrong(f"an address without quotes, got {shown(text + rest)}", "it in quotes")
        bare = text.replace("_", "")
        digits = bare.lstrip("+-")
        try:
            if digits[:2] in ("0x", "0X", "0b", "0B"):
                return str(int(bare, 0))
            if re.fullmatch("0[0-7]+", digits):
                return str(int(bare, 8))
            return str(int(bare)) if digits.isdigit() else str(float(bare))
        except ValueError:
            raise self.cursor.wrong(f"a wrong number, got {shown(text)}", "decimal, 0x or 0b digits") from None

    def product(self, one: str, other: str) -> str:
        if not re.fullmatch("-?[0-9]{1,15}", one) or not re.fullmatch("-?[0-9]{1,15}", other):
            raise self.cursor.wrong(f"{shown(one)} * {shown(other)}", "whole numbers of at most 15 digits")
        return str(int(one) * int(other))


def _single(text: str) -> str:
    """Return a single-quoted text: only the quote and the backslash are escaped."""
    return re.sub(r"\\([\\'])", r"\1", text)


def _as_hash(node: Node, parser: _Parser) -> Node:
    """Return the hash of keys and values in turn."""
    if isinstance(node.value, dict):
        return node
    items = node.value
    if not isinstance(items, list) or len(items) % 2:
        raise WireError(f"{parser.cursor.name}:{node.line}: a hash with a key but no value, want KEY => VALUE pairs")
    made: dict[str, Node] = {}
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key.value, str):
            raise WireError(f"{parser.cursor.name}:{key.line}: a key that is no text, want KEY => VALUE pairs")
        made[key.value] = value
    return Node(node.line, made)
