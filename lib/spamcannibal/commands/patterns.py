"""The files of patterns for mail logs, read: signs of spam, and accepted mail."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from spamcannibal.errors import ConfigError
from spamcannibal.gather.mails import MailSign, decode_mails
from spamcannibal.gather.signs import Sign, decode_signs
from spamcannibal.settings import Settings

FILE_LIMIT_BYTES = 1 << 20

T = TypeVar("T")


def read_signs(settings: Settings) -> list[Sign]:
    """Return the signs of follow.signs; ConfigError says what is wrong with the file."""
    return _read(settings.follow.signs, "follow.signs", "conf/log-signs.toml", decode_signs)


def read_mails(settings: Settings) -> list[MailSign]:
    """Return the patterns of follow.mails; ConfigError says what is wrong with the file."""
    return _read(settings.follow.mails, "follow.mails", "conf/log-mails.toml", decode_mails)


def _read(path: str, setting: str, sample: str, decode: Callable[[str, str, list[str]], list[T]]) -> list[T]:
    problems: list[str] = []
    try:
        with Path(path).open("rb") as file:
            raw = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{setting}: can't read {path}: {error.strerror}; a sample is {sample}") from None
    if len(raw) > FILE_LIMIT_BYTES:
        raise ConfigError(f"{setting}: {path} is too long, want at most {FILE_LIMIT_BYTES} bytes")
    found = decode(raw.decode("utf-8", "backslashreplace"), path, problems)
    if problems:
        raise ConfigError(*problems)
    return found
