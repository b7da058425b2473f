"""A place in a text of Perl: past blanks, comments, POD and here-documents, through delimited texts. Pure."""

import re
from dataclasses import dataclass, field

from spamcannibal.decode import shown
from spamcannibal.errors import WireError

PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}

_SPACE = re.compile(r"[ \t\r\f\v]+|#[^\n]*")
_BLANK = re.compile(r"[ \t\r\f\v\n]+")
_POD = re.compile(r"^=[A-Za-z].*?(?:^=cut\b[^\n]*$|\Z)", re.MULTILINE | re.DOTALL)


@dataclass
class Cursor:
    """A text, its name for messages, and the place that is read next."""

    text: str
    name: str
    at: int = 0
    _resumes: dict[int, int] = field(default_factory=dict)  # newline -> where to read on, past a here-document
    _counted: tuple[int, int] = (0, 1)  # a place and its line, from where the next count starts

    def take(self, form: re.Pattern[str]) -> re.Match[str] | None:
        """Move past what matches here."""
        match = form.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def skip(self) -> bool:
        """Move past blanks, comments, POD and read here-documents; False at the end of the text."""
        text, size = self.text, len(self.text)
        while self.at < size:
            if self.at == 0 and self.pod():
                continue
            if not self._resumes and self.take(_BLANK):
                # "=" begins POD only at the start of a line.
                if text[self.at - 1] == "\n":
                    self.pod()
            elif text[self.at] == "\n":
                self.at = self._resumes.pop(self.at, self.at + 1)
                self.pod()
            elif not self.take(_SPACE):
                return True
        self.at = min(self.at, size)
        return False

    def pod(self) -> bool:
        return self.text.startswith("=", self.at) and self.take(_POD) is not None

    def line(self) -> int:
        place, line = self._counted
        line += self.text.count("\n", place, self.at) if self.at >= place else -self.text.count("\n", self.at, place)
        self._counted = self.at, line
        return line

    def rest(self) -> str:
        return self.text[self.at : self.at + 40].partition("\n")[0]

    def wrong(self, what: str, want: str) -> WireError:
        return WireError(f"{self.name}:{self.line()}: {what}, want {want}")

    def delimited(self) -> tuple[str, str]:
        """Return what stands between a delimiter and its partner, which nest, and the delimiter."""
        if self.at >= len(self.text):
            raise self.wrong("the file ends", "a text in delimiters")
        line, start = self.line(), self.at + 1
        opening = self.text[self.at]
        closing, level = PAIRS.get(opening, opening), 1
        for match in re.compile(rf"\\.|[{re.escape(opening + closing)}]", re.DOTALL).finditer(self.text, start):
            if match[0] == closing:
                level -= 1
            elif match[0] == opening:
                level += 1
            if level == 0:
                self.at = match.end()
                return self.text[start : match.start()], opening
        raise WireError(f"{self.name}:{line}: a text that never ends, want {closing}")

    def heredoc(self, tag: str, indented: bool) -> str:
        """Return the text of a here-document that begins after this line; reading goes on behind it after this line."""
        newline = self.text.find("\n", self.at)
        start = self._resumes.get(newline, newline + 1)
        blank = r"[ \t]*" if indented else ""
        end = re.compile(rf"^{blank}{re.escape(tag)}$", re.MULTILINE).search(self.text, start) if newline >= 0 else None
        if end is None:
            raise self.wrong(f"a here-document without its end {shown(tag)}", "that, alone on a line")
        self._resumes[newline] = end.end() + 1
        body = self.text[start : end.start()]
        # As Perl does: from each line goes what stands before the end.
        margin = end[0].removesuffix(tag)
        return re.sub(rf"^{margin}", "", body, flags=re.MULTILINE)
