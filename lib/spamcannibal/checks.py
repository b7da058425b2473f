"""What a setting's text must be, beyond its type: names, endpoints, queues, users, paths."""

import re

from spamcannibal.addr import parse_addr, parse_endpoint, parse_key
from spamcannibal.decode import shown
from spamcannibal.errors import AddrError, ConfigError

LINE_LIMIT = 200  # a TXT string holds 255 bytes, and an address takes its place in it
LINE_FORM = f"printable ASCII, at most {LINE_LIMIT} characters"
LOCAL = "local"  # stands for whoever comes by a Unix socket
QUEUES_LIMIT = 64
QUEUES_FORM = f"N or FIRST:LAST, at most {QUEUES_LIMIT} of 0 to 65535"

_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"


def queue_range(text: str) -> range:
    """Return the queue numbers of "N" or "FIRST:LAST"; ConfigError if there are none or more than QUEUES_LIMIT."""
    match = re.fullmatch(r"([0-9]{1,5})(?::([0-9]{1,5}))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if not first <= last <= 65535 or last - first >= QUEUES_LIMIT:
        raise ConfigError(f"wrong queues, got {shown(text)}, want {QUEUES_FORM}")
    return range(first, last + 1)


def is_name(text: str) -> bool:
    """Tell whether a text is a domain name without a trailing dot (RFC 1035 sizes, LDH labels and underscores)."""
    return len(text) <= 253 and re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", text) is not None


def is_endpoint(text: str) -> bool:
    """Tell whether a text is ADDRESS:PORT or [ADDRESS]:PORT."""
    try:
        return parse_endpoint(text)[1] > 0
    except AddrError:
        return False


def is_queues(text: str) -> bool:
    """Tell whether queue_range takes a text."""
    try:
        return len(queue_range(text)) > 0
    except ConfigError:
        return False


def is_line(text: str) -> bool:
    """Tell whether a text fits into a TXT record."""
    return text.isascii() and text.isprintable() and len(text) <= LINE_LIMIT


def is_path(text: str) -> bool:
    """Tell whether a text can be a file's path."""
    return text != "" and "\0" not in text


def is_user(text: str) -> bool:
    """Tell whether a text is a login name, or empty."""
    return re.fullmatch(r"([a-z_][a-z0-9_.-]{0,31})?", text) is not None


def is_interface(text: str) -> bool:
    """Tell whether a text is a network interface's name, as long as Linux allows (IFNAMSIZ)."""
    return re.fullmatch(r"[A-Za-z0-9_.@-]{1,15}", text) is not None


def is_address(text: str) -> bool:
    """Tell whether parse_addr takes a text."""
    try:
        return bool(parse_addr(text))
    except AddrError:
        return False


def is_prefix(text: str) -> bool:
    try:
        parse_key(text)
    except AddrError:
        return False
    return True


def is_grant(text: str) -> bool:
    """Tell whether a text says who may: a prefix, "key:NAME", or both."""
    prefix, key = _keyed(text)
    return (bool(prefix) or bool(key)) and (not prefix or is_prefix(prefix)) and (not key or is_name(key))


def is_target(text: str) -> bool:
    """Tell whether a text says who is told: an address or endpoint, and perhaps "key:NAME"."""
    address, key = _keyed(text)
    return (is_address(address) or is_endpoint(address)) and (not key or is_name(key))


def _keyed(text: str) -> tuple[str, str]:
    """Return what stands before "key:NAME", and NAME; either may be empty."""
    head, _, key = text.partition("key:")
    is_whole = bool(key) and (not head or head.endswith(" "))
    return (head.strip(), key) if is_whole else (text, "")


def is_secret(text: str) -> bool:
    return re.fullmatch("[0-9a-fA-F]{32}", text) is not None


def is_exchanger(text: str) -> bool:
    """Tell whether a text is a mail exchanger: preference and host name."""
    preference, space, name = text.partition(" ")
    return (
        bool(space)
        and re.fullmatch(r"[0-9]{1,5}", preference) is not None
        and int(preference) < 65536
        and is_name(name)
    )


def is_host(text: str) -> bool:
    """Tell whether a text is a host name and its address."""
    name, space, address = text.partition(" ")
    return bool(space) and is_name(name) and is_address(address)


def is_contact(text: str) -> bool:
    """Tell whether a text is a mail address that an SOA record can hold."""
    local, at, domain = text.rpartition("@")
    return bool(at) and is_name(domain) and re.fullmatch(r"[A-Za-z0-9._+=-]{1,63}", local) is not None
