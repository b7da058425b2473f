"""AddrTable against a naive model, its bounds, and readers beside writers."""

import ipaddress
import random
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from spamcannibal._core import AddrTable

VALUES = st.integers(1, 2**32 - 1)


def key_of(number: int, bits: int, plen: int) -> bytes:
    """Cut a number to a prefix and write it as a store key."""
    addr = (number >> (bits - plen) << (bits - plen)).to_bytes(bits // 8)
    return addr if plen == bits else addr + bytes([plen])


def network_of(key: bytes) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if len(key) in (4, 16):
        return ipaddress.ip_network(key)
    return ipaddress.ip_network((key[:-1], key[-1]))


def naive_match(model: dict[bytes, int], addr: bytes) -> tuple[int, int] | None:
    host = ipaddress.ip_address(addr)
    covering = [(network_of(key).prefixlen, value) for key, value in model.items() if host in network_of(key)]
    return max(covering, default=None)


@st.composite
def keys(draw: st.DrawFn) -> bytes:
    """Prefixes of both families in so narrow a space that they overlap and repeat."""
    bits = draw(st.sampled_from([32, 128]))
    number = draw(st.integers(0, 7)) << (bits - 3) | draw(st.integers(0, 7)) << (bits // 2) | draw(st.integers(0, 7))
    return key_of(number, bits, draw(st.integers(0, bits)))


class AgainstModel(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.table = AddrTable()
        self.model: dict[bytes, int] = {}

    @rule(key=keys(), value=VALUES)
    def set(self, key: bytes, value: int) -> None:
        self.table.set(key, value)
        self.model[key] = value

    @rule(key=keys())
    def discard(self, key: bytes) -> None:
        assert self.table.discard(key) == (self.model.pop(key, None) is not None)

    @rule(pairs=st.lists(st.tuples(keys(), VALUES)))
    def load(self, pairs: list[tuple[bytes, int]]) -> None:
        assert self.table.load(iter(pairs)) == len(pairs)
        self.model.update(pairs)

    @rule(key=keys())
    def get(self, key: bytes) -> None:
        assert self.table.get(key) == self.model.get(key, 0)

    @rule(key=keys(), low=st.integers(0, 7))
    def match(self, key: bytes, low: int) -> None:
        addr = key[:4] if len(key) < 6 else key[:16]
        addr = addr[:-1] + bytes([addr[-1] ^ low])
        want = naive_match(self.model, addr)
        assert self.table.match(addr) == want
        assert self.table.lookup(addr) == (want[1] if want else 0)

    @invariant()
    def holds_the_model(self) -> None:
        assert len(self.table) == len(self.model)
        assert sorted(self.table.items()) == sorted(self.model.items())


AgainstModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAgainstModel = AgainstModel.TestCase


@pytest.mark.parametrize(("bits", "plen"), [(32, 32), (32, 24), (128, 64), (128, 90), (128, 128)])
def test_large_levels_grow_and_shrink_without_losing_an_entry(bits: int, plen: int) -> None:
    rng = random.Random(plen)
    empty = AddrTable().memory_bytes
    table = AddrTable()
    model = {key_of(rng.getrandbits(bits), bits, plen): rng.randrange(1, 2**32) for _ in range(20_000)}
    assert table.load(model.items()) == len(model)
    order = list(model)
    rng.shuffle(order)
    while order:
        assert Counter(table.items()) == Counter(model.items())
        assert all(table.get(key) == value for key, value in model.items())
        for key in order[-4000:]:
            assert table.discard(key)
            assert not table.discard(key)
            del model[key]
        del order[-4000:]
    assert table.items() == []
    assert table.memory_bytes == empty


def test_a_million_ipv4_hosts_stay_within_40_mb_while_they_are_loaded() -> None:
    table = AddrTable()
    peak = 0

    def hosts() -> Iterator[tuple[bytes, int]]:
        nonlocal peak
        for n in range(1_000_000):
            if n % 4096 == 0:
                peak = max(peak, table.memory_bytes)
            yield (n * 2654435761 % 2**32).to_bytes(4), 1

    assert table.load(hosts()) == 1_000_000
    assert len(table) == 1_000_000
    assert max(peak, table.memory_bytes) <= 40_000_000


def test_memory_for_each_entry_is_bounded_at_every_size() -> None:
    table = AddrTable()
    for n in range(1, 60_000):
        table.set((n * 2654435761 % 2**32).to_bytes(4), n)
        if n > 1000:
            assert table.memory_bytes <= 16_000 + 26 * n


def test_the_layout_depends_on_a_secret() -> None:
    pairs = [(n.to_bytes(4), 1) for n in range(300)]
    first, second = AddrTable(), AddrTable()
    first.load(pairs)
    second.load(pairs)
    assert sorted(first.items()) == sorted(second.items())
    assert first.items() != second.items()


@pytest.mark.parametrize(
    "key",
    [
        *(b"\x01" * size for size in (0, 1, 6, 15, 18)),
        b"\x0a\0\0\0\x21",
        b"\0" * 16 + b"\x81",
        b"\x0a\0\0\x01\x18",
        b"\x0a\0\0\0\x00",
        b"\0" * 15 + b"\x01\x7f",
    ],
    ids=["empty", "1", "6", "15", "18", "v4/33", "v6/129", "v4-host-bits", "v4/0-host-bits", "v6-host-bits"],
)
def test_what_is_no_key_is_refused(key: bytes) -> None:
    table = AddrTable()
    for call in (table.get, table.discard, lambda k: table.set(k, 1), lambda k: table.load([(k, 1)])):
        with pytest.raises(ValueError, match="key"):
            call(key)
    assert len(table) == 0


@pytest.mark.parametrize("value", [0, -1, 2**32, 2**70])
def test_what_is_no_value_is_refused(value: int) -> None:
    with pytest.raises((ValueError, OverflowError)):
        AddrTable().set(b"\x0a\0\0\x01", value)


@pytest.mark.parametrize("addr", [b"", b"\0" * 5, b"\0" * 17])
def test_what_is_no_address_is_refused(addr: bytes) -> None:
    table = AddrTable()
    for call in (table.lookup, table.match):
        with pytest.raises(ValueError, match="address"):
            call(addr)


def test_wrong_types_are_refused() -> None:
    table = AddrTable()
    for call in (table.lookup, table.match, table.get, table.discard, table.load):
        with pytest.raises(TypeError):
            call(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tuples"):
        table.load([[b"\0" * 4, 1]])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        table.set(b"\0" * 4)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        AddrTable(1)  # type: ignore[call-arg]


def test_an_error_of_the_iterable_passes_through_load() -> None:
    def failing() -> Iterator[tuple[bytes, int]]:
        yield b"\0" * 4, 1
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        AddrTable().load(failing())


def test_load_holds_no_lock_while_the_iterable_runs() -> None:
    table = AddrTable()

    def reading() -> Iterator[tuple[bytes, int]]:
        for n in range(1, 2000):
            table.set(b"\xff\0" + n.to_bytes(2), n)
            helper = threading.Thread(target=table.lookup, args=(b"\xff\0\0\x01",))
            helper.start()
            helper.join()
            yield n.to_bytes(4), n

    assert table.load(reading()) == 1999
    assert len(table) == 2 * 1999


def test_readers_see_the_old_or_the_new_value_and_nothing_else() -> None:
    table = AddrTable()
    host = b"\x0a\x01\x02\x03"
    table.set(b"\x0a\0\0\0\x08", 1)
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen = table.match(host)
            if seen not in ((8, 1), (32, 2), (24, 3)):
                wrong.append(seen)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for n in range(5000):
            table.set(host, 2)
            table.set(b"\x0a\x01\x02\0\x18", 3)
            table.set((0x0B000000 + n * 7919).to_bytes(4), 9)
            table.discard(host)
            table.discard(b"\x0a\x01\x02\0\x18")
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(table) == 1 + 5000


def test_a_walk_beside_writers_sees_what_stays_exactly_once() -> None:
    table = AddrTable()
    staying = {(0x0A000000 + n).to_bytes(4): 1 for n in range(300)}
    passing = [(0x0B000000 + n).to_bytes(4) for n in range(20_000)]
    table.load(staying.items())
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            table.load((key, 2) for key in passing)
            for key in passing:
                table.discard(key)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(100):
            seen = Counter(key for key, value in table.items() if value == 1)
            assert seen == Counter(staying)
    finally:
        done.set()
        writer.join()
