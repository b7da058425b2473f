"""The firewall rules that feed the tarpit, as texts for iptables-restore and nft. Pure: a plan in, texts out.

What a packet meets, in both forms and both families:

| where | rule | why |
|---|---|---|
| mangle, hook input or forward, last rule | jump to the own chain (from each interface, if limited) | see below |
| own chain | tracked as established, client's direction: return | those packets never leave the kernel |
| own chain | from lo: return (unless loopback is to be caught too) | the host's own mail |
| own chain | TCP to a defended port, no SYN, NEW or INVALID: queue, no bypass | see below |
| own chain | TCP to a defended port: queue | what is left is new or untracked |
| own chain, other protocols | ICMP but for echo requests: return | neighbour discovery, path MTU and errors must live |
| own chain, other protocols | not TCP and NEW: queue | |
| raw, hook output | our mark: no tracking | answers from a raw socket match no connection that the kernel knows |

Why the mangle table: a queue's verdict ACCEPT ends the hook's chain it was given for. In filter that would void every
rule of the operator behind ours; mangle (priority -150) comes after connection tracking (-200) and before filter (0),
so the operator's filter rules decide afterwards as always. The jump is the last rule of its chain for the same reason.
A connection is confirmed in the tracking table only after filter, so one that the verdict drops leaves no entry.

Why the direction counts: once a connection's entry is deleted (see firewall.cut_established), the next packet brings it
back (nf_conntrack_tcp_loose=1) or is INVALID (0). The client's packet is queued either way. Had the server spoken first
the entry comes back the other way round, and the client would be its established reply; so only what a client began
returns, and a reply to a defended port is queued like a new packet.

Why two queue rules: --queue-bypass hands packets on to the host while no daemon reads the queue, so that new mail never
waits for us. What a client sends in the middle of a connection that the kernel does not know is another matter: those
are the connections that the tarpit holds, and the host would reset them. Without the bypass they are dropped until the
daemon is back, and stay held. Mail that passes is ESTABLISHED and meets neither rule.

Fragments need no rule: connection tracking puts them together before. A port that the operator exempts from tracking
is queued whole.

The queue form `num FIRST-LAST bypass,fanout` is the one that every version of nft reads. Sources:
iptables-extensions(8) and nft(8); hook priorities from linux/netfilter_ipv4.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Family = Literal[4, 6]

CHAIN = "SPAMCANNIBAL"
PROBE_CHAIN = "SPAMCANNIBAL_PROBE"
NFT_TABLE = "spamcannibal"
# "SC": the socket mark of the answers that the daemon sends through raw IP sockets.
MARK = 0x5343
# The multiport match holds no more (XT_MULTI_PORTS).
PORTS_PER_RULE = 15

NFT_REMOVE = f"add table inet {NFT_TABLE}\ndelete table inet {NFT_TABLE}\n"


@dataclass(frozen=True)
class Plan:
    """What is to be queued, and where to."""

    ports: Sequence[int] = (25,)
    hooks: Sequence[str] = ("input",)
    interfaces: Sequence[str] = ()
    queues: range = range(1)
    bypass: bool = True
    loopback: bool = False
    other_protocols: bool = False


@dataclass(frozen=True)
class Rule:
    """One of our rules as the kernel has it, or would have it (no counters)."""

    family: str
    table: str
    chain: str
    rule: str
    packets: int | None = None
    bytes: int | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a row for output."""
        return dict(vars(self))


def iptables_apply(plan: Plan, family: Family, saved: str = "") -> str:
    """Return the text for `iptables-restore --noflush` that puts the rules in place of those in `saved`.

    `saved` is what iptables-save prints now; loading the text then leaves the same rules however often it is done.
    One transaction a table: packets see the old rules or the new.
    """
    old = list(iptables_rules(saved))
    return "".join(
        _restore_table(
            table,
            [f":{CHAIN} - [0:0]", *_unhook(old, table), *_lines(CHAIN, rules), *(f"-A {jump}" for jump in jumps)],
        )
        for table, rules, jumps in _iptables_tables(plan, family)
    )


def iptables_remove(saved: str) -> str:
    """Return the text for `iptables-restore --noflush` that removes all that is ours in `saved`, "" if nothing is."""
    old = list(iptables_rules(saved))
    return "".join(
        _restore_table(table, [*_unhook(old, table), f"-F {CHAIN}", f"-X {CHAIN}"])
        for table, line in _saved_lines(saved)
        if line.startswith(f":{CHAIN} ")
    )


def iptables_probe(plan: Plan, family: Family) -> tuple[str, str]:
    """Return two texts for `iptables-restore --noflush`: the rules in a chain that no packet meets, and its removal."""
    tables = [(table, rules) for table, rules, _ in _iptables_tables(plan, family)]
    put = (_restore_table(table, [f":{PROBE_CHAIN} - [0:0]", *_lines(PROBE_CHAIN, rules)]) for table, rules in tables)
    end = (
        _restore_table(table, [f":{PROBE_CHAIN} - [0:0]", f"-F {PROBE_CHAIN}", f"-X {PROBE_CHAIN}"])
        for table, _ in tables
    )
    return "".join(put), "".join(end)


def iptables_rules(saved: str, family: Family = 4) -> Iterator[Rule]:
    """Yield the rules that are ours (in the own chain, or jumps to it) from what iptables-save prints, -c or not."""
    for table, line in _saved_lines(saved):
        match = re.fullmatch(r"(?:\[(\d+):(\d+)\] )?-A (\S+) ?(.*)", line)
        if match and (match[3] == CHAIN or _is_jump(match[4])):
            packets, size = (int(match[1]), int(match[2])) if match[1] else (None, None)
            yield Rule("ipv4" if family == 4 else "ipv6", table, match[3], match[4], packets, size)


def rules_behind(saved: str) -> Iterator[str]:
    """Yield "CHAIN RULE" of what stands behind our jump in a chain of the mangle table, from iptables-save's text.

    There a queue's verdict ends the chain; in raw nothing is queued, so the order does not matter.
    """
    jumped = set()
    for table, line in _saved_lines(saved):
        match = re.fullmatch(r"(?:\[\d+:\d+\] )?-A (\S+) ?(.*)", line)
        if not match or table != "mangle":
            continue
        if _is_jump(match[2]):
            jumped.add(match[1])
        elif match[1] in jumped:
            yield f"{match[1]} {match[2]}"


def idle_hooks(before: str, after: str) -> list[tuple[str, str]]:
    """Return (table, chain) of the built-in chains that our jumps stood in `before` and that do nothing `after`.

    Both are what iptables-save prints. iptables-nft makes such a chain with its first rule and leaves it behind.
    """
    hooks = dict.fromkeys((rule.table, rule.chain) for rule in iptables_rules(before) if rule.chain != CHAIN)
    lines = [(table, *line.split(" ")[:2]) for table, line in _saved_lines(after)]
    return [
        (table, chain)
        for table, chain in hooks
        if (table, f":{chain}", "ACCEPT") in lines and (table, "-A", chain) not in lines
    ]


def nft_apply(plan: Plan) -> str:
    """Return the script for `nft -f` that makes or replaces the own table; one transaction, the same when repeated."""
    verdict, ports = _nft_queue(plan, plan.bypass), ", ".join(map(str, _ports(plan)))
    select = ["ct direction original ct state established,related counter return"]
    if not plan.loopback:
        select.append('iifname "lo" counter return')
    if plan.bypass:
        middle = "tcp flags & (fin | syn | rst | ack) != syn ct state new,invalid"
        select.append(f"tcp dport {{ {ports} }} {middle} counter {_nft_queue(plan, bypass=False)}")
    select.append(f"tcp dport {{ {ports} }} counter {verdict}")
    if plan.other_protocols:
        select += [f"{icmp} type != echo-request counter return" for icmp in ("icmp", "icmpv6")]
        select.append(f"meta l4proto != tcp ct state new counter {verdict}")
    jumps = [f'iifname "{name}" counter jump select' for name in plan.interfaces] or ["counter jump select"]
    chains = [_nft_chain("select", select)]
    chains += [_nft_chain(hook, [_nft_base(hook, "mangle"), *jumps]) for hook in dict.fromkeys(plan.hooks)]
    chains.append(_nft_chain("output", [_nft_base("output", "raw"), f"meta mark {MARK:#x} counter notrack"]))
    return f"{NFT_REMOVE}table inet {NFT_TABLE} {{\n{''.join(chains)}}}\n"


def nft_rules(listed: str) -> Iterator[Rule]:
    """Yield our rules from what `nft list table` prints, or from a script of nft_apply."""
    chain = ""
    for line in map(str.strip, listed.splitlines()):
        if match := re.fullmatch(r"chain (\S+) \{", line):
            chain = match[1]
        elif line == "}":
            chain = ""
        elif chain and not line.startswith("type "):
            counted = re.search(r" ?counter packets (\d+) bytes (\d+)", line)
            packets, size = (int(counted[1]), int(counted[2])) if counted else (None, None)
            rule = re.sub(r"(^| )counter( packets \d+ bytes \d+)?", "", line).strip()
            yield Rule("inet", NFT_TABLE, chain, rule, packets, size)


def snippet(form: str, plan: Plan) -> str:
    """Return the rules in one of FORMS as a file that says how it is loaded."""
    how, text = FORMS[form]
    return f"# SpamCannibal: what `spamcannibal firewall show --form {form}` prints.\n# {how}\n{text(plan)}"


_ONCE = "Load it once only, `spamcannibal firewall apply` as often as you like:"
FORMS: dict[str, tuple[str, Callable[[Plan], str]]] = {
    "iptables": (f"{_ONCE}\n#   iptables-restore --noflush FILE", lambda plan: iptables_apply(plan, 4)),
    "ip6tables": (f"{_ONCE}\n#   ip6tables-restore --noflush FILE", lambda plan: iptables_apply(plan, 6)),
    "nft": ("Load it by:\n#   nft -f FILE", nft_apply),
}


def _iptables_tables(plan: Plan, family: Family) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (table, rules of the own chain, jumps to it)."""
    inputs = [f"-i {name} " for name in plan.interfaces] or [""]
    hooks = dict.fromkeys(hook.upper() for hook in plan.hooks)
    jumps = [f"{hook} {match}-j {CHAIN}" for hook in hooks for match in inputs]
    yield "mangle", _iptables_select(plan, family), jumps
    yield "raw", [f"-m mark --mark {MARK:#x} -j CT --notrack"], [f"OUTPUT -j {CHAIN}"]


def _iptables_select(plan: Plan, family: Family) -> list[str]:
    target = _iptables_queue(plan, plan.bypass)
    rules = ["-m conntrack --ctstate RELATED,ESTABLISHED --ctdir ORIGINAL -j RETURN"]
    if not plan.loopback:
        rules.append("-i lo -j RETURN")
    ports = _ports(plan)
    for at in range(0, len(ports), PORTS_PER_RULE):
        some = ",".join(map(str, ports[at : at + PORTS_PER_RULE]))
        if plan.bypass:
            middle = "-m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate INVALID,NEW"
            rules.append(f"-p tcp -m multiport --dports {some} {middle} {_iptables_queue(plan, bypass=False)}")
        rules.append(f"-p tcp -m multiport --dports {some} {target}")
    if plan.other_protocols:
        icmp = "-p icmp -m icmp ! --icmp-type 8" if family == 4 else "-p ipv6-icmp -m icmp6 ! --icmpv6-type 128"
        rules.append(f"{icmp} -j RETURN")
        rules.append(f"! -p tcp -m conntrack --ctstate NEW {target}")
    return rules


def _iptables_queue(plan: Plan, bypass: bool) -> str:
    first, last = plan.queues[0], plan.queues[-1]
    number = f"--queue-num {first}" if first == last else f"--queue-balance {first}:{last} --queue-cpu-fanout"
    return f"-j NFQUEUE {number}{' --queue-bypass' if bypass else ''}"


def _nft_queue(plan: Plan, bypass: bool) -> str:
    first, last = plan.queues[0], plan.queues[-1]
    number = f"{first}" if first == last else f"{first}-{last}"
    flags = ["bypass"] * bypass + ["fanout"] * (first != last)
    return f"queue num {number} {','.join(flags)}".rstrip()


def _ports(plan: Plan) -> list[int]:
    return sorted(set(plan.ports))


def _nft_chain(name: str, lines: Iterable[str]) -> str:
    return "".join([f"\tchain {name} {{\n", *(f"\t\t{line}\n" for line in lines), "\t}\n"])


def _nft_base(hook: str, priority: str) -> str:
    return f"type filter hook {hook} priority {priority}; policy accept;"


def _lines(chain: str, rules: Iterable[str]) -> list[str]:
    return [f"-A {chain} {rule}" for rule in rules]


def _restore_table(table: str, lines: Iterable[str]) -> str:
    return "\n".join([f"*{table}", *lines, "COMMIT", ""])


def _is_jump(rule: str) -> bool:
    # A jump to a chain takes no options, so it ends the line; elsewhere it is an operator's comment.
    return re.search(rf"(^| )-[jg] {CHAIN}$", rule) is not None


def _unhook(old: Iterable[Rule], table: str) -> list[str]:
    return [f"-D {rule.chain} {rule.rule}" for rule in old if rule.table == table and rule.chain != CHAIN]


def _saved_lines(saved: str) -> Iterator[tuple[str, str]]:
    """Yield (table, line) of what iptables-save prints."""
    table = ""
    for line in map(str.strip, saved.splitlines()):
        if line.startswith("*"):
            table = line[1:]
        yield table, line
