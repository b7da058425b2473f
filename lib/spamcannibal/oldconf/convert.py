"""The original's settings -> ours: the keys of sc_BlackList.conf, dnsbls.conf and sc_mailfilter.conf. Pure.

In: the hash of each file as perl.py reads it. Out: Imported, from which render.py makes files. What has no place here,
or could not be taken as it is, becomes a note that says where it stood and what to do; a value is only taken if these
settings accept it.

| there | here |
|---|---|
| IGNORE | lines of a never-list; ranges as the prefixes that make them up |
| BLOCK, REJECT | a file for [jobs] block_list; block_text and country_text |
| BBC | [jobs] countries |
| GENERIC | a file for [jobs] generic_ptr, of unanchored patterns; generic_text, generic_expires_s |
| 'in-addr.arpa' | [jobs] missing_ptr and its text and expiry |
| 'ZONE' | a [[list]] of lists.d, and its name in [remote] lists |
| zonename and what belongs to it | a [[dnsbl.zone]], [dnsbl] listen |
| MXhosts, NOPRIVATE | [guard] own_names and never-list lines, [robot] own_hosts and skip_private |
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.checks import is_address, is_name
from spamcannibal.decode import shown
from spamcannibal.jobs.regexes import compile_regex
from spamcannibal.oldconf.perl import Node
from spamcannibal.oldconf.reader import YEAR_S, Hash, Imported, Reader
from spamcannibal.oldconf.zone import zone
from spamcannibal.remote.lists import is_refusal, parse_codes

# A "#" would begin a comment in our file; \z is \Z in Python.
SPELLINGS = {"#": r"\x23", r"\#": r"\x23", r"\z": r"\Z"}
GENERIC_LIMIT = 19_000  # of the 20,000 lines that a file of patterns may have


def convert(found: Hash, name: str, known: Mapping[str, str], into: Imported) -> None:
    """Put what a file's hash says into `into`. `known` are zones that lists.d has already, each with a remark."""
    reader = Reader(name, into)
    if "zonename" in found:
        zone(reader, found)
        return
    for key, node in found.items():
        if isinstance(node.value, dict) and "." in key:
            _remote(reader, known, key, node, node.value)
        elif key in HANDLERS:
            HANDLERS[key](reader, key, node)
        else:
            reader.note(node, key, NO_PLACE.get(key, "unknown here; left out"))


def _ignore(reader: Reader, key: str, node: Node) -> None:
    for item, text in reader.texts(node, key):
        reader.never(item, key, text)


def _block(reader: Reader, key: str, node: Node) -> None:
    for item, text in reader.texts(node, key):
        line = "".join(text.split())
        if reader.prefixes(item, key, line):
            reader.into.block.append(line)
    if reader.into.block:
        reader.set("jobs", "block_list", "block-list")


def _reject(reader: Reader, key: str, node: Node) -> None:
    line = reader.line(node, key)
    if line:
        reader.set("jobs", "block_text", line)
        reader.set("jobs", "country_text", line)


def _countries(reader: Reader, key: str, node: Node) -> None:
    codes: dict[str, None] = {}
    for item, text in reader.texts(node, key):
        if re.fullmatch("[A-Z]{2}", text.strip().upper()):
            codes[text.strip().upper()] = None
        else:
            reader.note(item, key, f"got {shown(text)}, want two letters; left out")
    if codes:
        reader.set("jobs", "countries", list(codes))


def _generic(reader: Reader, key: str, node: Node) -> None:
    found = reader.hash(node, key)
    for name, sign in (("ignore", "!~"), ("regexp", "~")):
        if name in found:
            _patterns(reader, found[name], f"{key}.{name}", sign)
    if any(line.startswith("~") for line in reader.into.generic):
        reader.set("jobs", "generic_ptr", "generic-ptr.imported")
    if "error" in found and (line := reader.line(found["error"], f"{key}.error")):
        reader.set("jobs", "generic_text", line)
    if "expire" in found and (time_s := reader.duration(found["expire"], f"{key}.expire", 1, 10 * YEAR_S)):
        reader.set("jobs", "generic_expires_s", time_s)
    for name, value in found.items():
        if name not in ("ignore", "regexp", "error", "expire"):
            reader.note(value, f"{key}.{name}", GENERIC_NO_PLACE.get(name, "unknown here; left out"))


def _patterns(reader: Reader, node: Node, key: str, sign: str) -> None:
    """Take expressions; one that Python's re has not, or that could take for ever, is left as a note."""
    for item, text in reader.texts(node, key):
        regex = re.sub(r"\\.|#", lambda match: SPELLINGS.get(match[0], match[0]), text.strip())
        if len(reader.into.generic) >= GENERIC_LIMIT:
            reader.note(item, key, f"too many expressions, want at most {GENERIC_LIMIT}; the rest is left out")
            return
        try:
            if not regex or not regex.isprintable():
                raise ValueError("empty, or with characters that do not print")
            compile_regex(regex)
        except ValueError as error:
            reader.note(item, key, f"{error}; left out")
            continue
        reader.into.generic.append(sign + regex)


def _own_hosts(reader: Reader, key: str, node: Node) -> None:
    names: dict[str, None] = {}
    hosts: dict[str, None] = {}
    for item, text in reader.texts(node, key):
        word = "".join(text.split()).rstrip(".")
        if is_name(word) and not re.fullmatch(r"[0-9.]+", word):
            names[word] = hosts[word] = None
        else:
            hosts |= dict.fromkeys(reader.never(item, key, word))
    if names:
        reader.set("guard", "own_names", list(names))
    if hosts:
        reader.set("robot", "own_hosts", list(hosts))


def _no_private(reader: Reader, key: str, node: Node) -> None:
    if node.value not in (None, "", "0"):
        reader.set("robot", "skip_private", False)


def _remote(reader: Reader, known: Mapping[str, str], zone: str, node: Node, found: Hash) -> None:
    """Take a remote list, or what stands for the test of reverse DNS."""
    zone = zone.strip().rstrip(".").lower()
    if zone == "in-addr.arpa":
        _missing_ptr(reader, found)
        return
    if not is_name(zone):
        reader.note(node, zone, "not a domain name; left out")
        return
    if zone in known:
        reader.note(node, zone, f"lists.d has it already ({known[zone]}); what stood here is left out")
        _name_list(reader, known, zone)
        return
    if any(one["zone"] == zone for one in reader.into.lists):
        reader.note(node, zone, "an earlier file has it already; what stood here is left out")
        return
    made: dict[str, Any] = {"zone": zone}
    if not _accepts(reader, made, zone, node, found):
        return
    for name, value in found.items():
        _remote_key(reader, made, f"{zone}.{name}", name, value)
    reader.into.lists.append(made)
    _name_list(reader, known, zone)


def _name_list(reader: Reader, known: Mapping[str, str], zone: str) -> None:
    lists = reader.into.settings.setdefault("remote", {}).setdefault("lists", [])
    if zone not in lists and not known.get(zone, "").startswith("dead"):
        lists.append(zone)


def _accepts(reader: Reader, made: dict[str, Any], zone: str, node: Node, found: Hash) -> bool:
    """Take which answers count; False if none does."""
    if "acceptany" in found and found["acceptany"].value not in (None, "", "0"):
        made["any"] = True
        return True
    rules = found["accept"].value if "accept" in found else None
    taken: dict[str, str] = {}
    for code, reason in rules.items() if isinstance(rules, dict) else ():
        if parse_codes(code.strip()) and is_address(code.strip()):
            taken.setdefault(code.strip(), reader.line(reason, f"{zone}.accept.{code}"))
        else:
            reader.note(reason, f"{zone}.accept.{code}", "no answer that can mean listed; left out")
    if not taken:
        reader.note(node, zone, "no answer of it counts; the list is left out")
        return False
    made["accept"] = [{"codes": code, "reason": reason} for code, reason in taken.items()]
    return True


def _remote_key(reader: Reader, made: dict[str, Any], key: str, name: str, node: Node) -> None:
    if name in ("accept", "acceptany"):
        if name == "acceptany" and isinstance(node.value, str):
            reader.note(node, key, f"its text has no place, got {shown(node.value)}")
        elif "any" in made:
            reader.note(node, key, "acceptany stands beside it and takes all; left out")
    elif name == "response":
        text = (reader.text(node, key) or "").strip()
        if text and is_address(text) and text.startswith("127.") and not is_refusal(parse_addr(text)):
            made["code"] = format_addr(parse_addr(text))
        else:
            reader.note(node, key, "no answer of ours; 127.0.0.3 is used, as the original did")
    elif name == "error":
        if line := reader.line(node, key):
            made["error"] = line
    elif name == "expire":
        if value := reader.duration(node, key):
            made["expires_s"] = value
    elif name == "timeout":
        if value := reader.duration(node, key, 1, 120):
            made["timeout_s"] = value
    elif name in ("url", "comment", "confirm"):
        if node.value and (line := reader.line(node, key)):
            made["url" if name == "url" else "status"] = line
    else:
        reader.note(node, key, "unknown here; left out")


def _missing_ptr(reader: Reader, found: Hash) -> None:
    reader.set("jobs", "missing_ptr", True)
    for name, node in found.items():
        key = f"in-addr.arpa.{name}"
        if name == "error" and (line := reader.line(node, key)):
            reader.set("jobs", "missing_ptr_text", line)
        elif name == "expire" and (value := reader.duration(node, key, 1, 10 * YEAR_S)):
            reader.set("jobs", "missing_ptr_expires_s", value)
        elif name not in ("error", "expire"):
            reader.note(node, key, "has no place: only that there is no name counts, never silence")


HANDLERS: dict[str, Callable[[Reader, str, Node], None]] = {
    "IGNORE": _ignore,
    "BLOCK": _block,
    "REJECT": _reject,
    "BBC": _countries,
    "GENERIC": _generic,
    "MXhosts": _own_hosts,
    "NOPRIVATE": _no_private,
}
GENERIC_NO_PLACE = {
    "message": "neighbours in the /24 are never listed for what one address did",
    "aggressive": "neighbours in the /24 are never listed for what one address did",
    "timeout": "see [remote] timeout_s",
    "comment": "informational",
    "blockcontact": "has no place: who is listed may always ask to be taken off",
}
NO_PLACE = {
    "INCLUDE": "could not be followed here",
    "STATS": "hits are counted in the database: spamcannibal stats",
    "ALLIPS": "every address that was seen is in the database's archive and tarpit",
    "FORCE_PREEN": "see [jobs] recheck_contact_s and recheck_due_s",
    **dict.fromkeys(
        ("MDstatfile", "MDpidpath", "MDzone", "MDstatrefresh", "MDipaddr", "MDport", "MDsyslog", "MDcache"),
        "belongs to multi_dnsbl, which has no counterpart",
    ),
    "BLCONFIG": "give that file to this command, too",
    "CHILDREN": "one message is handled by one process; the mail server bounds them",
    "REPORT": "see [robot]: the submitter is answered",
    "SPAMCOUNT": "reports are counted in the database: spamcannibal stats",
    "PGP": "who may report is decided by signatures: see [[robot.submitter]]",
    "REQHEAD": "who may report is decided by signatures: see [[robot.submitter]]",
    "DIRTY": "forwarded mail is always read tolerantly",
    "MAXMSG": "see [store] evidence_limit_bytes",
    "VALIDATE": "has no place",
    "XCIDR24": "neighbours in the /24 are never listed for what one address did",
    "spamCC": "see [complaint]",
    "ABUSE": "see [complaint]",
}
