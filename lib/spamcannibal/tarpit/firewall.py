"""Put the rules of `rules.py` into the kernel, take them out, show them; cut connections that are already open.

| backend | tools | how what the kernel can do is found out |
|---|---|---|
| nft | nft | `nft -c`: the kernel checks the script and keeps nothing |
| iptables-nft, iptables-legacy | ip(6)tables-nft-save, -restore, ... | the rules are really loaded, apart |

Apart is a network namespace that lives as long as the tool, or where none may be made (a container), a chain of the
real one that no packet meets. The first backend that works is taken, in this order; a kernel may well have the NFQUEUE
target and not nft's own `queue`. Nothing is concluded from version numbers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from spamcannibal.addr import format_key
from spamcannibal.checks import queue_range
from spamcannibal.errors import Unavailable, Unsupported
from spamcannibal.service import CAP_NET_ADMIN
from spamcannibal.settings import Settings
from spamcannibal.tarpit import rules
from spamcannibal.tarpit.rules import Family, Plan, Rule

BACKENDS = ("nft", "iptables-nft", "iptables-legacy")
CURE = (
    "load xt_NFQUEUE, xt_CT, xt_conntrack and xt_multiport (or nft_queue, nft_ct), install iptables or nftables, "
    "or choose another firewall.backend"
)
# Rule sets of 100,000 lines take some seconds to save.
RULES_TIMEOUT_S = 20.0
CUT_TIMEOUT_S = 2.0
# Another program's iptables may hold the lock of the legacy tables.
LOCK_WAIT_S = 5
# Two programs that apply at once see each other's rules go; the second look is right.
ATTEMPTS = 3


def plan(settings: Settings) -> Plan:
    """Return what the settings ask to be queued."""
    firewall, tarpit = settings.firewall, settings.tarpit
    return Plan(
        ports=firewall.ports,
        hooks=firewall.hooks,
        interfaces=firewall.interfaces,
        queues=queue_range(tarpit.queues),
        bypass=firewall.bypass,
        loopback=tarpit.loopback,
        other_protocols=tarpit.other_protocols,
    )


def choose(wanted: Plan, backend: str = "auto") -> str:
    """Return the first backend that this host can do; Unsupported says why none, and the cure."""
    _need_net_admin()
    reasons = []
    for name in BACKENDS if backend == "auto" else (backend,):
        try:
            _probe(name, wanted)
        except Unsupported as error:
            reasons.append(str(error))
        else:
            return name
    raise Unsupported(f"this host can't queue packets: {'; '.join(reasons)}; {CURE}")


def apply(wanted: Plan, backend: str) -> None:
    """Put the rules of a backend (as from `choose`) in place of all of ours; nothing is left half done.

    Safe to repeat, also while packets flow: each table changes in one step, and those of another backend go last.
    """
    try:
        if backend == "nft":
            _checked(["nft", "-f", "-"], rules.nft_apply(wanted))
        else:
            for family in families():
                _swap(backend, family, wanted)
    except (Unsupported, Unavailable):
        _remove_from(backend)
        raise
    for other in BACKENDS:
        if other != backend:
            _remove_from(other)


def remove() -> list[str]:
    """Remove what is ours from all backends; return those that had something."""
    _need_net_admin()
    return [name for name in BACKENDS if _remove_from(name)]


def present() -> Iterator[tuple[str, Rule]]:
    """Yield (backend, rule with its counters) for all of ours that the kernel holds."""
    _need_net_admin()
    for rule in rules.nft_rules(_listed_table()):
        yield "nft", rule
    for backend in BACKENDS[1:]:
        for family in families():
            for rule in rules.iptables_rules(_saved(backend, family, "-c"), family):
                yield backend, rule


def would_be(wanted: Plan, backend: str) -> list[Rule]:
    """Return the rules that `apply` would make by a backend, in the words of its tool for rules in force.

    These differ by release, so the tool is asked, in a network namespace apart; Unsupported if none may be made.
    """
    if backend == "nft":
        nft = _program("nft")
        shown = _apart(f"{nft} -f - && {nft} list table inet {rules.NFT_TABLE}", rules.nft_apply(wanted))
        return list(rules.nft_rules(shown))
    found: list[Rule] = []
    for family in families():
        restore, *options = _restore_argv(backend, family)
        save = _program(f"{_tool(backend, family)}-save")
        script = f"{_program(restore)} {' '.join(options)} && {save}"
        found += rules.iptables_rules(_apart(script, rules.iptables_apply(wanted, family)), family)
    return found


def behind() -> list[str]:
    """Return the operator's rules that stand behind our jumps, and so never see what we queue (see rules.py)."""
    saved = (_saved(backend, family) for backend in BACKENDS[1:] for family in families())
    return [rule for text in saved for rule in rules.rules_behind(text)]


def cut_established(key: bytes, ports: Iterable[int]) -> int:
    """Delete the connection tracking entries of a source (store key) to the ports; return how many there were.

    Its next packet is new or invalid to the kernel and meets the queue. Local and forwarded connections alike. Waits
    at most CUT_TIMEOUT_S a port. Unsupported if the tool or the right is missing, Unavailable if it takes too long.
    """
    source = ["-f", "ipv6" if len(key) > 5 else "ipv4", "-s", format_key(key), "-p", "tcp"]
    return sum(_delete_entries([*source, "--dport", str(port)]) for port in ports)


def families() -> tuple[Family, ...]:
    """Return the families of this kernel: IPv6 can be switched off at its start."""
    return (4, 6) if Path("/proc/net/if_inet6").exists() else (4,)


def _delete_entries(query: list[str]) -> int:
    done = _run(["conntrack", "-D", *query], timeout_s=CUT_TIMEOUT_S)
    # It ends with 1 both when nothing matches and when it fails, and what it says tells which.
    count = re.search(r"(\d+) flow entries have been deleted", done.stderr)
    if count is None:
        raise Unsupported(f"conntrack: {_reason(done)}")
    return int(count[1])


def _probe(backend: str, wanted: Plan) -> None:
    """Raise Unsupported if the kernel or the tools can't do the rules; the rules in force stay as they are."""
    if backend == "nft":
        _checked(["nft", "-c", "-f", "-"], rules.nft_apply(wanted))
        return
    apart = ["unshare", "--net", "--"]
    may_unshare = _run([*apart, "true"]).returncode == 0
    for family in families():
        restore = _restore_argv(backend, family)
        if may_unshare:
            _checked([*apart, _program(restore[0]), *restore[1:]], rules.iptables_apply(wanted, family))
            continue
        put, end = rules.iptables_probe(wanted, family)
        try:
            _checked(restore, put)
        finally:
            _run(restore, end)


def _swap(backend: str, family: Family, wanted: Plan) -> None:
    for attempt in range(ATTEMPTS):
        text = rules.iptables_apply(wanted, family, _saved(backend, family))
        try:
            _checked(_restore_argv(backend, family), text)
        except Unsupported:
            if attempt + 1 == ATTEMPTS:
                raise
        else:
            return


def _remove_from(backend: str) -> bool:
    if backend == "nft":
        if not _listed_table():
            return False
        _checked(["nft", "-f", "-"], rules.NFT_REMOVE)
        return True
    removed = [_remove_family(backend, family) for family in families()]
    return any(removed)


def _remove_family(backend: str, family: Family) -> bool:
    before = _saved(backend, family)
    text = rules.iptables_remove(before)
    if not text:
        return False
    _checked(_restore_argv(backend, family), text)
    if backend == "iptables-nft":
        for table, chain in rules.idle_hooks(before, _saved(backend, family)):
            # A version that can't do it leaves an empty chain, which does nothing.
            _run([_tool(backend, family), "-t", table, "-X", chain])
    return True


def _saved(backend: str, family: Family, *options: str) -> str:
    """Return what iptables-save prints, "" if the tool is not there. Tables that nobody made are not made by it."""
    argv = [f"{_tool(backend, family)}-save", *options]
    return _checked(argv) if _which(argv[0]) else ""


def _listed_table() -> str:
    """Return what nft prints of our table, "" if there is none."""
    if not _which("nft"):
        return ""
    done = _run(["nft", "list", "table", "inet", rules.NFT_TABLE])
    return done.stdout if done.returncode == 0 else ""


def _restore_argv(backend: str, family: Family) -> list[str]:
    return [f"{_tool(backend, family)}-restore", "--noflush", "--wait", str(LOCK_WAIT_S)]


def _tool(backend: str, family: Family) -> str:
    return backend.replace("iptables", "iptables" if family == 4 else "ip6tables")


def _which(name: str) -> str | None:
    # Not every account's PATH has the administrator's directories.
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _program(name: str) -> str:
    path = _which(name)
    if path is None:
        raise Unsupported(f"no program {name}")
    return path


def _run(argv: Sequence[str], text: str = "", timeout_s: float = RULES_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    program = _program(argv[0])
    try:
        return subprocess.run(
            [program, *argv[1:]],
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{' '.join(argv[:4])}: no end after {timeout_s:g} s") from None
    except OSError as error:
        raise Unsupported(f"can't run {program}: {error.strerror}") from None


def _checked(argv: Sequence[str], text: str = "") -> str:
    done = _run(argv, text)
    if done.returncode != 0:
        tool = argv[argv.index("--") + 1] if "--" in argv else argv[0]
        raise Unsupported(f"{Path(tool).name}: {_reason(done)}")
    return done.stdout


def _apart(script: str, text: str) -> str:
    """Return what a shell script prints in a network namespace of its own."""
    return _checked(["unshare", "--net", "--", "sh", "-c", script], text)


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return what of a failed tool's output says what is wrong: the message, and nft's next line, the statement."""
    lines = [re.sub(r"^/dev/stdin:[\d:-]+ ", "", line.strip()) for line in done.stderr.splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Try `", "Error occurred at", "#"))]
    return ": ".join(telling[:2]) or f"exit code {done.returncode}"


def _need_net_admin() -> None:
    rights = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    if rights and not int(rights[1], 16) >> CAP_NET_ADMIN & 1:
        raise Unsupported("the firewall needs CAP_NET_ADMIN, run this as root")
