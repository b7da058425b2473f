"""What came of one message: findings, an exit code for the mail server, and the words that tell the submitter. Pure.

| kind | means | code |
|---|---|---|
| listed | at least one source is on the list now, with its evidence | 0 |
| command | the orders were carried out | 0 |
| refused | nothing was changed; the message is kept in a folder, with the reason | 65, 0 if the submitter was told |
| deferred | nothing was changed, it is not the message's fault; the mail server keeps it | 75 |
"""

from dataclasses import dataclass
from typing import Literal

from spamcannibal.addr import format_key

EXIT_DONE, EXIT_REFUSED, EXIT_DEFERRED = 0, 65, 75
Kind = Literal["listed", "command", "refused", "deferred"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one reported message, or done for one order. `seq`: of the journal, 0 for none."""

    what: str
    said: str
    key: bytes | None = None
    seq: int = 0
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one message. `submitter` is empty if nobody known sent it."""

    kind: Kind
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    submitter: str = ""
    is_told: bool = False

    @property
    def exit_code(self) -> int:
        if self.kind == "deferred":
            return EXIT_DEFERRED
        return EXIT_REFUSED if self.kind == "refused" and not self.is_told else EXIT_DONE

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What is listed, or was changed, each once."""
        return tuple(dict.fromkeys(found.key for found in self.findings if found.key and found.is_done))

    @property
    def title(self) -> str:
        """What came of it, in a few words."""
        if self.kind == "listed":
            first, *more = map(format_key, self.keys)
            return f"listed {first}" + (f" and {len(more)} more" if more else "")
        return {"command": "done", "refused": "refused", "deferred": "not yet"}[self.kind]

    def lines(self) -> list[str]:
        """Say all of it, a line or paragraph each."""
        told = [f"{found.what}: {found.said}" for found in self.findings]
        return [*told, self.reason] if self.reason and self.reason not in told else told


def from_findings(findings: tuple[Finding, ...], submitter: str) -> Outcome:
    """Return the outcome of a report: listed if anything was."""
    if any(found.is_done for found in findings):
        return Outcome("listed", "", findings, submitter)
    reason = findings[0].said if len(findings) == 1 else f"none of {len(findings)} messages leads to a source"
    return Outcome("refused", reason, findings, submitter)
