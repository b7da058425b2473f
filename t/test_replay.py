"""Captures through the tarpit's decisions: those of the core packet by packet, every link type, every kind of damage.

Captures are written by scapy and, for what that does not write, by hand.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.packet import Packet
from scapy.utils import PcapNgWriter, PcapWriter

from spamcannibal._core import AddrTable, Replay, Trap
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main
from spamcannibal.errors import SpamCannibalError, WireError
from spamcannibal.record import EXCLUDED, PROVEN_CODE, SHADOW, Mode, table_value
from spamcannibal.store.stores import NewListing
from spamcannibal.tables import Tables
from spamcannibal.tarpit.replay import Capture, Part
from storekit import open_store as _open_store

open_store: Callable[..., Any] = _open_store

SERVER = "198.51.100.25"
V4 = IP(src="192.0.2.7", dst=SERVER) / TCP(sport=4312, dport=25, seq=1, flags="S")
V6 = IPv6(src="2001:db8::7", dst="2001:db8:1::25") / TCP(sport=4312, dport=25, seq=1, flags="S")
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
PLAIN = table_value(PROVEN_CODE, Mode.DEFAULT, 0)
LISTED = {
    "192.0.2.0/24": PLAIN,
    "192.0.2.99": table_value(PROVEN_CODE, Mode.DEFAULT, EXCLUDED),
    "192.0.2.98": table_value(PROVEN_CODE, Mode.DROP, 0),
    "203.0.113.0/24": table_value(PROVEN_CODE, Mode.DEFAULT, SHADOW),
    "192.0.2.97": table_value(PROVEN_CODE, Mode.DEFAULT, SHADOW),
    "2001:db8::/64": PLAIN,
}
LINKS: dict[str, tuple[int, Callable[[Packet], Packet | bytes]]] = {
    "ethernet": (1, lambda ip: ETHER / ip),
    "vlan": (1, lambda ip: ETHER / Dot1Q(vlan=7) / ip),
    "q-in-q": (1, lambda ip: ETHER / Dot1AD(vlan=7) / Dot1Q(vlan=8) / ip),
    "cooked": (113, lambda ip: CookedLinux() / ip),
    "cooked-vlan": (113, lambda ip: CookedLinux(proto=0x8100) / Dot1Q(vlan=7) / ip),
    "cooked-2": (276, lambda ip: CookedLinuxV2(proto=0x0800 if ip.version == 4 else 0x86DD) / ip),
    "raw": (101, lambda ip: ip),
    "raw-bsd": (12, lambda ip: ip),
    "null-little": (0, lambda ip: struct.pack("<I", 2 if ip.version == 4 else 28) + bytes(ip)),
    "null-big": (0, lambda ip: struct.pack(">I", 2 if ip.version == 4 else 30) + bytes(ip)),
    "loop": (108, lambda ip: Loopback(type=2 if ip.version == 4 else 24) / ip),
}


def tables(listed: dict[str, int] = LISTED) -> Tables:
    made = Tables()
    made.load([(parse_key(text), value) for text, value in listed.items()])
    return made


def replay(trap: Trap | None = None, ports: Sequence[int] = (25,), sources: int = 100, listed: Any = LISTED) -> Replay:
    made = tables(listed)
    return Replay(trap or Trap(1, bytes(16)), made.listings, made.shadows, ports, sources)


def pcap(path: Path, frames: Sequence[Packet | bytes], link: int = 101) -> Path:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link))
        for i, frame in enumerate(map(bytes, frames)):
            file.write(struct.pack("<IIII", 1_700_000_000 + i, 250_000, len(frame), len(frame)) + frame)
    return path


def parts(path: Path) -> tuple[list[Part], str]:
    capture = Capture(str(path))
    return list(capture), capture.damage


# ---- what is decided ----


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("ip", [V4, V6], ids=["v4", "v6"])
def test_every_link_type_leads_to_the_packet(name: str, ip: Packet) -> None:
    link, wrapped = LINKS[name]
    frame, made = bytes(wrapped(ip)), replay()
    made.feed(link, [frame], [1000])
    assert (made.counts()["dropped"], made.events()) == (1, {"TRAP": 1})
    assert made.sources()[0][0] == parse_addr(ip.src)
    for cut in range(len(frame)):  # whatever is missing, nothing is read beyond it, and the frame is counted
        made.feed(link, [frame[:cut]], [1000])
    counts = made.counts()
    assert counts["packets"] == 1 + len(frame) and counts["connections"] == 1
    assert counts["cut"] > 0 and counts["bad"] == 0


def test_what_is_no_ip_is_counted_and_passes() -> None:
    made = replay()
    made.feed(1, [bytes(ETHER / ARP()), bytes(ETHER / Dot1Q(vlan=7, type=0x0806) / ARP()), bytes(60)], [1, 2, 3])
    made.feed(0, [struct.pack("<I", 7) + bytes(40)], [4])
    counts = made.counts()
    assert counts["other"] == counts["packets"] == 4
    with pytest.raises(ValueError, match="link: got type 127"):
        made.feed(127, [b""], [0])


PACKETS = st.builds(
    lambda src, flags, dport, ack, data: bytes(
        IP(src=src, dst=SERVER) / TCP(sport=4312, dport=dport, seq=1000, ack=ack, flags=flags) / data
    ),
    st.sampled_from(["192.0.2.7", "192.0.2.99", "192.0.2.98", "203.0.113.5", "192.0.2.97", "198.18.0.1", "224.0.0.1"]),
    st.sampled_from(["S", "A", "SA", "R", "F", "FA", "SF", "", "PA"]),
    st.sampled_from([25, 26]),
    st.integers(0, 3000),
    st.binary(max_size=9),
)


@given(st.lists(PACKETS, max_size=20), st.sampled_from(["throttle", "persist", "stutter", "drop", "observe"]))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_each_packet_gets_the_core_s_decision(packets: list[bytes], mode: str) -> None:
    trap = Trap(1, bytes(range(16)))
    trap.configure(mode=mode)
    made, listings = replay(trap), tables().listings
    made.feed(101, packets, list(range(len(packets))))
    wanted = [trap.decide(p, listings.lookup(p[12:16])) for p in packets if p[22:24] == b"\x00\x19"]
    counts = made.counts()
    assert counts["dropped"] == sum(verdict == "DROP" for verdict, *_ in wanted)
    assert counts["answered"] == sum(reply is not None for _, reply, *_ in wanted)
    assert counts["bytes_out"] == sum(len(reply) for _, reply, *_ in wanted if reply is not None)
    events = Counter(event for verdict, _, event, *_ in wanted)
    assert {**made.events(), "NONE": 0} == {**events, "NONE": 0}
    assert counts["elsewhere"] == len(packets) - len(wanted)


def test_a_shadow_is_told_but_hides_nothing() -> None:
    made = replay()
    frames = [bytes(IP(src=src, dst=SERVER) / TCP(dport=25, flags="S")) for src in ("203.0.113.5", "192.0.2.97")]
    made.feed(101, frames, [0, 0])
    found = {addr: (plen, fate) for addr, plen, _, fate, *_ in made.sources()}
    assert found == {parse_addr("203.0.113.5"): (24, "shadowed"), parse_addr("192.0.2.97"): (24, "dropped")}
    assert (made.counts()["shadowed"], made.counts()["dropped"]) == (1, 1)


def test_a_syn_sent_again_is_one_connection() -> None:
    made = replay()
    syn, other = bytes(V4), bytes(IP(src="192.0.2.7", dst=SERVER) / TCP(sport=4313, dport=25, flags="S"))
    made.feed(
        101, [syn, syn, other, bytes(IP(src="192.0.2.7", dst=SERVER) / TCP(sport=4313, dport=25, flags="A"))], [0] * 4
    )
    (source,) = made.sources()
    assert source[5:9] == (4, 2, 3, 160)


def test_other_protocols_count_only_if_the_settings_say_so() -> None:
    trap = Trap(1, bytes(16))
    datagram = bytes(IP(src="192.0.2.7", dst=SERVER) / UDP(dport=53))
    for wanted in (0, 1):
        trap.configure(other_protocols=bool(wanted))
        made = replay(trap)
        made.feed(101, [datagram], [0])
        assert (made.counts()["dropped"], made.counts()["elsewhere"]) == (wanted, 1 - wanted)


def test_sources_and_spans_are_bounded_and_nothing_is_lost_of_the_totals() -> None:
    made = replay(sources=3)
    frames = [bytes(IP(src=f"192.0.2.{n}", dst=SERVER) / TCP(dport=25, flags="S")) for n in range(1, 11)]
    times = [5000, 0, 1_000_000, 10**9, 5001, 10**12, 2**62, 5000, 5000, 5000]
    made.feed(101, frames, times)
    counts = made.counts()
    assert (counts["dropped"], counts["sources_shed"], len(made.sources())) == (10, 7, 3)
    start_ms, span_ms, spans = made.timeline()
    assert start_ms == 5000 and len(spans) <= 512 and span_ms * 512 > 2**62
    assert sum(map(sum, spans)) == 10


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((101, [b""], []), ValueError),
        ((101, ["x"], [0]), TypeError),
        ((101, [b""], [-1]), (OverflowError, TypeError)),
        ((101, None, [0]), TypeError),
        ((70000, [b""], [0]), ValueError),
    ],
)
def test_wrong_arguments_change_nothing(arguments: Any, error: Any) -> None:
    made = replay()
    with pytest.raises(error):
        made.feed(*arguments)
    assert made.counts()["packets"] == 0
    with pytest.raises(ValueError, match="port"):
        replay(ports=[70000])
    with pytest.raises(ValueError, match="sources"):
        replay(sources=0)
    with pytest.raises(TypeError):
        Replay(Trap(1, bytes(16)), AddrTable(), None, [25])  # type: ignore[arg-type]


# ---- what is read ----


def test_pcap_and_pcapng_plain_and_gzipped_read_alike(tmp_path: Path) -> None:
    frames = [ETHER / V4, ETHER / V6, ETHER / ARP()]
    for i, frame in enumerate(frames):
        frame.time = 1_700_000_000.25 + i
    for name, writer in (("a.pcap", PcapWriter), ("a.pcapng", PcapNgWriter)):
        with writer(str(tmp_path / name)) as file:
            file.write(frames)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    nano = io.BytesIO()
    with PcapWriter(nano, nano=True) as file:
        file.write(frames)
        (tmp_path / "nano.pcap").write_bytes(nano.getvalue())
    wanted = Part(1, list(map(bytes, frames)), [1_700_000_000_250 + 1000 * i for i in range(3)])
    for path in sorted(tmp_path.iterdir()):
        assert parts(path) == ([wanted], ""), path


def test_a_part_is_bounded_and_of_one_link_type(tmp_path: Path) -> None:
    found, damage = parts(pcap(tmp_path / "many.pcap", [bytes(V4)] * 9000))
    assert [len(part.frames) for part in found] == [4096, 4096, 808] and not damage
    section = struct.pack("<II4sHHqI", 0x0A0D0D0A, 28, b"\x4d\x3c\x2b\x1a", 1, 0, -1, 28)
    interfaces = b"".join(struct.pack("<IIHHII", 1, 20, link, 0, 65535, 20) for link in (101, 127, 1))
    packets = b""
    for interface, frame in ((0, bytes(V4)), (1, b"radiotap"), (2, bytes(ETHER / V4)), (2, bytes(ETHER / V6))):
        body = frame + bytes(-len(frame) % 4)
        packets += struct.pack("<IIIIIII", 6, 32 + len(body), interface, 0, 5_000_000, len(frame), len(frame))
        packets += body + struct.pack("<I", 32 + len(body))
    simple = bytes(V4)
    packets += struct.pack("<III", 3, 16 + len(simple), len(simple)) + simple + struct.pack("<I", 16 + len(simple))
    (tmp_path / "mixed.pcapng").write_bytes(section + interfaces + packets)
    found, damage = parts(tmp_path / "mixed.pcapng")
    assert [(part.link, len(part.frames), part.times_ms[0]) for part in found] == [
        (101, 1, 5000), (127, 1, 5000), (1, 2, 5000), (101, 1, 5000),
    ]  # fmt: skip
    assert not damage


@pytest.mark.parametrize("name", ["whole.pcap", "whole.pcapng", "whole.pcap.gz"])
def test_a_cut_file_gives_what_stands_before_and_says_so(tmp_path: Path, name: str) -> None:
    frames = [ETHER / V4, ETHER / V6]
    path = tmp_path / name
    if "ng" in name:
        with PcapNgWriter(str(path)) as file:
            file.write(frames)
        edges = {len(path.read_bytes())}
    else:
        pcap(path, frames, 1)
        edges = {24, 24 + 16 + len(frames[0]), 24 + 32 + sum(map(len, frames))}
    data = path.read_bytes()
    if name.endswith(".gz"):
        data, edges = gzip.compress(data), {len(gzip.compress(data))}
    best = -1
    for size in range(1, len(data) + 1):
        path.write_bytes(data[:size])
        try:
            found, damage = parts(path)
        except WireError as error:
            assert best < 0 and str(path) in str(error)  # only while there is no header
            continue
        count = sum(len(part.frames) for part in found)
        assert count >= best - 1
        best = max(best, count)
        if size in edges:
            assert not damage, size
        elif "ng" not in name:
            assert damage, size
    assert best == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty, want a pcap or pcapng file"),
        (b"\xa1\xb2", "no pcap or pcapng file"),
        (b"From root Mon Jan  1 00:00:00 2024\n" * 9, "no pcap or pcapng file"),
        (struct.pack("<I", 0xA1B2C3D4), "no pcap or pcapng file"),
        (gzip.compress(b"hello, this is a text", mtime=0), "no pcap or pcapng file"),
        (b"\x1f\x8b\x08\x00garbage", "no pcap or pcapng file"),
        (b"\x0a\x0d\x0d\x0a\xff\xff\xff\xff\x4d\x3c\x2b\x1a\x01\x00" + bytes(20), "no pcap or pcapng file"),
    ],
)
def test_what_is_no_capture_is_an_error_that_names_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(WireError, match=said) as caught:
        parts(path)
    assert str(path) in str(caught.value)


def test_a_file_that_asks_for_gigabytes_gets_none(tmp_path: Path) -> None:
    path = pcap(tmp_path / "huge.pcap", [V4])
    path.write_bytes(path.read_bytes() + struct.pack("<IIII", 1, 0, 0xFFFFFFFF, 0xFFFFFFFF) + b"x" * 100)
    found, damage = parts(path)
    assert [len(part.frames) for part in found] == [2] and "truncated" in damage
    section = struct.pack("<II4sHHqI", 0x0A0D0D0A, 28, b"\x4d\x3c\x2b\x1a", 1, 0, -1, 28)
    path.write_bytes(section + struct.pack("<II", 6, 0xFFFFFFFC) + bytes(100))
    found, damage = parts(path)
    assert not found and "block of 4294967280 bytes" in damage
    with pytest.raises(SpamCannibalError, match="No such file"):
        parts(tmp_path / "missing.pcap")
    with pytest.raises(SpamCannibalError, match="directory"):
        parts(tmp_path)


@given(st.binary(max_size=400), st.integers(0, 3), st.integers(0, 300))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_content_breaks_the_reading(tmp_path: Path, noise: bytes, kind: int, at: int) -> None:
    section = struct.pack("<II4sHHqI", 0x0A0D0D0A, 28, b"\x4d\x3c\x2b\x1a", 1, 0, -1, 28)
    interface = struct.pack("<IIHHII", 1, 20, 101, 0, 65535, 20)
    starts = [b"", struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101), section, section + interface]
    path = tmp_path / "noise"
    whole = starts[kind] + noise
    path.write_bytes(whole[:at] + whole[at + 1 :])
    try:
        found, _ = parts(path)
    except WireError:
        return
    made = replay()
    for part in found:
        try:
            made.feed(*part)
        except ValueError as error:
            assert "link" in str(error)


# ---- the command ----


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "never-list").write_text("198.51.100.0/24\n")
    (tmp_path / "c.toml").write_text(
        '[store]\npath = "store"\ncache_bytes = "1MiB"\n[guard]\nnever_list = "never-list"\n'
        '[tarpit]\nmode = "persist"\n'
    )
    store = open_store(tmp_path / "store")
    store.list([NewListing(parse_key("192.0.2.0/24"), text="x", source="admin:joe")], 1000.0)
    store.list([NewListing(parse_key("203.0.113.0/24"), source="import:drop", flags=SHADOW)], 2000.0)
    store.close()

    def call(*args: object) -> Any:
        result = CliRunner().invoke(main.cli, ["-c", str(tmp_path / "c.toml"), *map(str, args)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_the_command_tells_totals_and_sources(run: Callable[..., Any], tmp_path: Path) -> None:
    other = IP(src="203.0.113.5", dst=SERVER) / TCP(dport=25, flags="S")
    path = pcap(tmp_path / "a.pcap", [V4, V4, other, IP(src="192.0.3.1", dst=SERVER) / TCP(dport=25, flags="S")])
    said = json.loads(run("replay", path, "--json").stdout)
    assert (said["packets"], said["dropped"], said["shadowed"], said["unlisted"]) == (4, 2, 1, 1)
    assert (said["events"], said["connections"], said["damage"]) == ({"trap": 2}, 1, [])
    assert said["from"] == "2023-11-14T22:13:20Z"
    assert [(row["source"], row["fate"], row["mode"], row["entry"], row["listed_by"]) for row in said["sources"]] == [
        ("192.0.2.7", "refused", "persist", "192.0.2.0/24", "admin:joe"),
        ("203.0.113.5", "shadow", None, "203.0.113.0/24", "import:drop"),
    ]
    text = run("replay", path).stdout
    assert "refused 2, 2 of them answered: 1 connections" in text and "192.0.2.7" in text
    argv: list[Any] = [
        sys.executable,
        "-m",
        "spamcannibal",
        "-c",
        tmp_path / "c.toml",
        "replay",
        "-",
        "--json",
        "--mode",
        "observe",
    ]
    piped = json.loads(subprocess.run(argv, input=path.read_bytes(), capture_output=True, check=True).stdout)
    assert (piped["dropped"], piped["observed"]) == (0, 2)
    assert json.loads(run("replay", path, path, "--port", 26, "--json").stdout)["elsewhere"] == 8


def test_the_listings_may_be_those_of_a_time_or_of_a_file(run: Callable[..., Any], tmp_path: Path) -> None:
    path = pcap(tmp_path / "a.pcap", [V4, IP(src="203.0.113.5", dst=SERVER) / TCP(dport=25, flags="S")])
    then = json.loads(run("replay", path, "--at", "#1", "--json").stdout)
    assert (then["dropped"], then["shadowed"], then["unlisted"]) == (1, 0, 1)
    assert json.loads(run("replay", path, "--at", "1970-01-01", "--json").stdout)["unlisted"] == 2
    (tmp_path / "drop.txt").write_text("203.0.113.0/24 # drop\n!203.0.113.9\nnonsense\n0.0.0.0/0\n")
    result = run("replay", path, "--listings", tmp_path / "drop.txt", "--json")
    said = json.loads(result.stdout)
    assert [(row["entry"], row["listed_by"]) for row in said["sources"]] == [("203.0.113.0/24", "drop.txt")]
    assert "line 3" in result.stderr and "line 4: 0.0.0.0/0 must never be listed" in result.stderr
    assert result.exit_code == 4 and said["unlisted"] == 1
    with pytest.raises(SpamCannibalError, match="nothing is listed"):
        run("replay", path, "--listings", "/dev/null")
    assert run("replay", path, "--listings", tmp_path / "drop.txt", "--at", "1h").exit_code == 2
    assert run("replay", path, "--keep").exit_code == 2


def test_what_can_t_be_read_is_told_with_exit_4(run: Callable[..., Any], tmp_path: Path) -> None:
    whole = pcap(tmp_path / "a.pcap", [V4, V4])
    whole.write_bytes(whole.read_bytes()[:-1])
    result = run("replay", whole)
    assert result.exit_code == 4 and "DAMAGED" in result.stdout and "refused 2" in result.stdout
    radio = pcap(tmp_path / "radio.pcap", [b"frame"], 127)
    result = run("replay", radio)
    assert result.exit_code == 4 and "NOT READ 1 packets of link type 802.11 radiotap (127)" in result.stdout
    with pytest.raises(WireError):
        run("replay", tmp_path / "c.toml")


@pytest.mark.parametrize("lists", [(), ("--lists",)])
def test_files_that_are_none_are_wrong_usage(run: Callable[..., Any], tmp_path: Path, lists: tuple[str, ...]) -> None:
    for name, said in (("none.log*", "no such file; look at the name"), ("store", "a directory; name the files")):
        result = run("replay", *lists, tmp_path / name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert said in " ".join(result.stderr.split()) and name in result.stderr
    assert run("replay", "-", "--listings", "-").exit_code == 2


def test_the_picture_is_drawn_in_known_forms(run: Callable[..., Any], tmp_path: Path) -> None:
    path = pcap(tmp_path / "a.pcap", [V4] * 3)
    assert run("replay", path, "--picture", tmp_path / "a.svg").exit_code == 0
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(SpamCannibalError, match="can't write the picture"):
        run("replay", path, "--picture", tmp_path / "a.xyz")
    empty = pcap(tmp_path / "none.pcap", [])
    assert run("replay", empty, "--picture", tmp_path / "b.png").exit_code == 0


def test_packets_that_our_tarpit_answered_are_known_again_by_its_secret(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    trap = Trap(1, bytes(range(16)))
    trap.configure(mode="persist", greeting_name="localhost")
    reply = trap.decide(bytes(V4), PLAIN)[1]
    assert reply is not None
    ack = IP(src="192.0.2.7", dst=SERVER) / TCP(sport=4312, dport=25, seq=2, ack=TCP(reply[20:]).seq + 1, flags="A")
    path = pcap(tmp_path / "a.pcap", [V4, ack])
    assert json.loads(run("replay", path, "--json").stdout)["events"] == {"trap": 1, "stray": 1}
    (tmp_path / "store" / "tarpit.secret").write_bytes(bytes(range(16)))
    assert json.loads(run("replay", path, "--json").stdout)["events"] == {"trap": 1, "greet": 1}
