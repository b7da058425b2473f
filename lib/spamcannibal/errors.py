"""The error tree: every failure that a user or a peer can cause, each with the exit code that tells which.

| class | exit code | means |
|---|---|---|
| SpamCannibalError | 1 | a problem was found; also the base of the rest |
| NeverListed | 1 | the never-list forbids this key |
| WireError | 65 EX_DATAERR | a peer's bytes, or a file's content, break their format |
| AddrError | 65 EX_DATAERR | a text or bytes are no address, prefix or key |
| Unsupported | 69 EX_UNAVAILABLE | this host lacks a feature: kernel target, capability, free queue |
| StoreError | 74 EX_IOERR | the database can't be read or written |
| Unavailable | 75 EX_TEMPFAIL | not now; trying again later may work |
| Replaced | 75 EX_TEMPFAIL | the database was replaced by another: start anew |
| ConfigError | 78 EX_CONFIG | the settings are wrong |

Codes past 1 are those of sysexits.h, because mail servers call some of the commands and act on them. Code 2 is click's,
for wrong usage. A message is one line: `file:key: what is wrong, got X, want Y`.
"""


class SpamCannibalError(Exception):
    """Base of all errors that a command reports as one line on stderr."""

    exit_code = 1


class ConfigError(SpamCannibalError):
    """The settings, or a file they name, are wrong: one problem or all that were found."""

    exit_code = 78

    def __init__(self, *problems: str) -> None:
        more = f" (and {len(problems) - 1} more: spamcannibal config check)" if len(problems) > 1 else ""
        super().__init__("".join(problems[:1]) + more)
        self.problems = problems


class WireError(SpamCannibalError):
    """Bytes from outside break the format they should have."""

    exit_code = 65


class AddrError(WireError, ValueError):
    """A text or bytes are not an address, prefix or store key."""


class StoreError(SpamCannibalError):
    """The database can't be opened, read or written."""

    exit_code = 74


class Unavailable(SpamCannibalError):
    """What is needed is not there now; try again later."""

    exit_code = 75


class Replaced(Unavailable):
    """What was opened is no longer what stands under its name: open it anew."""


class Unsupported(SpamCannibalError):
    """This host lacks a feature: a kernel target, a capability, a queue that is free."""

    exit_code = 69


class NeverListed(SpamCannibalError):
    """The never-list forbids to list `key`.

    `key` is the store key that was refused, `rule` says which line or keyword of the never-list forbids it, `shown` is
    the key as text (hexadecimal when not given).
    """

    def __init__(self, key: bytes, rule: str, shown: str = "") -> None:
        super().__init__(f"{shown or key.hex()} must never be listed: {rule}")
        self.key = key
        self.rule = rule
