"""Text and names as each kind of file wants them: whatever a listing's text holds, it can't leave its field. Pure."""

from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.zone import expand

Labels = tuple[bytes, ...]
_STRING_BYTES = 255
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b'"\\')
_NAME_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*")


def said(entry: Entry, default: str) -> bytes:
    """Return what is said about an entry: its own text or the default, `$` being the address or prefix."""
    return expand((entry.text or default).encode("utf-8", "replace"), entry.name)


def one_line(text: str) -> str:
    """Return text without line ends and other control characters, runs of blanks as one."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def ascii_line(data: bytes) -> str:
    """Return bytes as one line of printable ASCII: what an SMTP reply may hold."""
    return one_line(data.decode("utf-8", "replace").encode("ascii", "replace").decode())


def quoted(data: bytes) -> str:
    """Return TXT data in master file form (RFC 1035 section 5.1): quoted strings of at most 255 bytes."""
    strings = [data[at : at + _STRING_BYTES] for at in range(0, len(data), _STRING_BYTES)] or [b""]
    return " ".join(f'"{"".join(map(_escaped, string))}"' for string in strings)


def domain(labels: Labels) -> str:
    """Return an absolute name in master file form; a dot inside a label is escaped."""
    return "".join(f"{''.join(map(_name_escaped, label))}." for label in labels) or "."


def _escaped(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    return f"\\{chr(byte)}" if byte in b'"\\' else f"\\{byte:03d}"


def _name_escaped(byte: int) -> str:
    if byte in _NAME_PLAIN:
        return chr(byte)
    return "\\." if byte == ord(".") else f"\\{byte:03d}"
