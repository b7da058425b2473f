"""Header fields as text: unfolding, encoded words (RFC 2047), parameters (RFC 2045), charsets; any bytes, linear time.

Bytes become text as UTF-8 with every wrong byte escaped, so that nothing is lost and nothing raises. Charsets are
those of a table: Python's own look-up knows names that are no charsets (punycode, unicode_escape), raises on others.
"""

import binascii
import re

_CHARSETS = """
    us-ascii utf-8 utf-16 utf-16be utf-16le iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7
    iso-8859-8 iso-8859-9 iso-8859-10 iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 windows-1250 windows-1251
    windows-1252 windows-1253 windows-1254 windows-1255 windows-1256 windows-1257 windows-1258 tis-620 koi8-r koi8-u
    gb2312 gbk gb18030 big5 euc-jp iso-2022-jp shift_jis euc-kr iso-2022-kr
"""
CHARSETS = frozenset(_CHARSETS.split())

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))
_BLANKS = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?\s]*)\?=")
_GAP = re.compile(r"(\?=)[ \t\r\n]+(?==\?[^?\s]{1,80}\?[bBqQ]\?)")
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,80})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)


def as_text(raw: bytes, charset: str = "") -> str:
    """Return bytes as text in a charset, UTF-8 if it is unknown; wrong bytes are escaped."""
    name = charset.strip().lower()
    return raw.decode(name if name in CHARSETS else "utf-8", "backslashreplace")


def unfold(value: str) -> str:
    """Return a raw field value as one line: runs of blanks and line ends become one space."""
    return _BLANKS.sub(" ", value).strip(" ")


def decode_words(value: str) -> str:
    """Return a field value as one line with its encoded words decoded; what is none stays."""
    if "=?" not in value:
        return unfold(value)
    return _WORD.sub(_decoded_word, _GAP.sub(r"\1", unfold(value)))


def _decoded_word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    raw = text.encode("utf-8", "surrogatepass")
    return as_text(unbase64(raw) if encoding in "bB" else binascii.a2b_qp(raw, header=True), charset)


def unbase64(raw: bytes) -> bytes:
    """Return base64 as bytes: what is not of its alphabet is skipped, what is cut off is lost, nothing raises."""
    data = raw.translate(None, _NOT_BASE64)
    if len(data) & 3 == 1:
        data = data[:-1]
    return binascii.a2b_base64(data + b"=" * (-len(data) & 3))


def parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return (value, parameters by lower-case name) of "text/plain; charset=x", the value in lower case."""
    line = unfold(value)
    head, semicolon, rest = line.partition(";")
    found: dict[str, str] = {}
    for match in _PARAMETER.finditer(semicolon + rest):
        name, quoted, plain = match.groups()
        text = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        found.setdefault(name.lower(), text)
    return head.strip().lower(), found
