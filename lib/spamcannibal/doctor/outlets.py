"""The figures that exports write (dnsbl/export/outlet.py) -> findings. Pure."""

import re
from collections.abc import Iterator

from spamcannibal.doctor.finding import Finding, State, Untold, excuse
from spamcannibal.doctor.keeping import age

LATE_S = 600.0
UNCHECKED_S = 86400.0
_SAMPLE = re.compile(r'spamcannibal_outlet_(\w+)\{outlet="([^"]*)"(?:,kind="(\w+)")?\} (\S+)')

Figures = dict[str, dict[str, float]]


def parse(text: str) -> Figures:
    """Return the figures by outlet and name; a difference's is "drift_KIND"."""
    found: Figures = {}
    for name, outlet, kind, number in _SAMPLE.findall(text):
        try:
            value = float(number)
        except ValueError:
            continue
        found.setdefault(outlet, {})[f"drift_{kind}" if kind else name] = value
    return found


def judge(file: str, text: str | Untold, now: float) -> Iterator[Finding]:
    """Judge each outlet of a file of figures."""
    cure = "spamcannibal export ... --follow --metrics FILE writes it"
    if isinstance(text, Untold):
        yield excuse(f"export {file}", text, cure)
        return
    figures = parse(text)
    if not figures:
        yield Finding(f"export {file}", State.UNKNOWN, "no figures of an export in it", cure)
    for outlet, found in figures.items():
        yield _outlet(f"export {outlet}", found, now)


def _outlet(check: str, found: dict[str, float], now: float) -> Finding:
    drifted = sum(value for name, value in found.items() if name.startswith("drift_"))
    if drifted:
        told = f"{drifted:.0f} entries differ from the list"
        return Finding(check, State.BAD, told, "restart its export --follow, which exports all anew")
    success_s = found.get("last_success_timestamp_seconds")
    if success_s is not None and now - success_s > LATE_S:
        late = f"not current for {age(now - success_s)}" if success_s else "never was current"
        return Finding(check, State.BAD, late, "see the log of its export --follow; is it running?")
    checked_s = found.get("checked_timestamp_seconds")
    if checked_s is not None and now - checked_s > UNCHECKED_S:
        told = f"compared last {age(now - checked_s)} ago"
        return Finding(check, State.UNKNOWN, told, "spamcannibal export ... --check-drift, by its timer")
    if success_s is None and checked_s is None:
        return Finding(check, State.UNKNOWN, "no time of success in its figures", "spamcannibal export ... --follow")
    return Finding(check, State.OK, "has all changes")
