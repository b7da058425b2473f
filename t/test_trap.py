"""The trap: slots and their timer, what restarts keep, what bandwidth sheds, and that many threads agree."""

from __future__ import annotations

import threading
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal._core import Trap
from tarpit_client import ACK, ENDS, FIN, GREETING, LINE, LISTED, PSH, RST, SYN, Client, G, new_trap

INTERVAL_MS = 10_000
NEGATIVE = 0xFFFFFFFF  # -1 as a sequence number
MAC = b"\x02\0\0\0\0\x07"


@pytest.fixture(params=ENDS)
def client(request: pytest.FixtureRequest) -> Client:
    return Client(ENDS[request.param])


def clients(count: int) -> list[Client]:
    return [Client(ENDS["v4" if i % 2 else "v6"], 1024 + i, iss=i * 0x01010101) for i in range(count)]


def arm(trap: Trap, client: Client, now_ms: int = 0) -> str:
    trap.apply(client.syn(), LISTED, ifindex=3, mac=MAC, now_ms=now_ms)
    return trap.apply(client.at(0), LISTED, ifindex=3, mac=MAC, now_ms=now_ms)[2]


def due_byte(trap: Trap, client: Client, now_ms: int) -> tuple[int, int, bytes]:
    """The only byte due: (position, acknowledged byte of the client's, byte)."""
    [(packet, ifindex, mac)] = trap.due(now_ms)
    assert (ifindex, mac) == (3, MAC)
    flags, seq, ack, window, payload = client.read(packet)
    assert (flags, window, len(payload)) == (PSH | ACK, 0, 1)
    return seq, ack, payload


# --- the timer ---


def test_a_byte_each_interval_and_the_next_one_once_it_is_acknowledged(client: Client) -> None:
    trap = new_trap()
    assert arm(trap, client) == "ARM"
    for k in range(3 * len(LINE)):
        due_ms = (k + 1) * INTERVAL_MS
        assert trap.next_due() == due_ms
        assert trap.due(due_ms - 1) == []
        assert due_byte(trap, client, due_ms) == (k, 0, LINE[k % G : k % G + 1])
        assert trap.apply(client.at(k + 1), LISTED, ifindex=3, mac=MAC, now_ms=due_ms + 50)[1:3] == (None, "ACKED")
    assert trap.stats(0)["acked_bytes"] == trap.stats(0)["sent_bytes"] == 3 * len(LINE)


def test_an_unanswered_byte_is_sent_again_until_the_slot_is_given_up(client: Client) -> None:
    trap = new_trap(unacked_limit=4)
    arm(trap, client)
    for turn in range(1, 5):
        assert due_byte(trap, client, turn * INTERVAL_MS) == (0, 0, b"2")
    assert trap.due(5 * INTERVAL_MS) == []
    assert trap.next_due() is None
    stats = trap.stats(60_000)
    assert (stats["held"], stats["given_up"], stats["held_s"]) == (0, 1, 50)


def test_an_ack_starts_the_count_of_unanswered_bytes_anew(client: Client) -> None:
    trap = new_trap(unacked_limit=2)
    arm(trap, client)
    for k in range(20):
        due_byte(trap, client, (2 * k + 1) * INTERVAL_MS)
        due_byte(trap, client, (2 * k + 2) * INTERVAL_MS)
        trap.apply(client.at(k + 1), LISTED, ifindex=3, mac=MAC, now_ms=(2 * k + 2) * INTERVAL_MS)
    assert trap.stats()["held"] == 1


def test_connections_come_due_in_order_and_in_batches() -> None:
    trap = new_trap(slots=600)
    everybody = clients(600)
    for i, client in enumerate(everybody):
        arm(trap, client, now_ms=i)
    now_ms = INTERVAL_MS + 599
    batches = [trap.due(now_ms) for _ in range(4)]
    assert [len(batch) for batch in batches] == [256, 256, 88, 0]
    packets = [packet for batch in batches for packet, _, _ in batch]
    assert [client.read(packet)[1] for client, packet in zip(everybody, packets, strict=True)] == [0] * 600


def test_another_interval_holds_for_those_already_waiting() -> None:
    trap = new_trap()
    first, second = clients(2)
    arm(trap, first, now_ms=0)
    trap.configure(stutter_interval_s=1)
    arm(trap, second, now_ms=500)
    assert trap.next_due() == 1000
    assert len(trap.due(1000)) == 1
    trap.configure(stutter_interval_s=100)
    assert trap.due(2000) == []
    assert len(trap.due(200_000)) == 2


@pytest.mark.parametrize("flags", [RST, RST | ACK, FIN | ACK, FIN | PSH | ACK])
def test_a_reset_or_fin_frees_the_slot_in_silence(client: Client, flags: int) -> None:
    trap = new_trap()
    arm(trap, client)
    verdict, reply, *_ = trap.apply(client.at(0, flags=flags), LISTED, now_ms=1)
    assert (verdict, reply) == ("DROP", None)
    assert trap.stats(0)["held"] == 0
    assert trap.next_due() is None


def test_a_repeated_syn_keeps_the_slot_and_a_new_one_voids_it(client: Client) -> None:
    trap = new_trap()
    arm(trap, client)
    trap.apply(client.syn(), LISTED, now_ms=1)
    assert trap.stats(1)["held"] == 1
    trap.apply(Client(client.ends, client.port, iss=5).syn(), LISTED, now_ms=2)
    assert trap.stats(2)["held"] == 0


def test_a_repeated_handshake_takes_no_second_slot(client: Client) -> None:
    trap = new_trap()
    arm(trap, client)
    assert trap.apply(client.at(0), LISTED, now_ms=1)[1:3] == (None, "ACKED")
    stats = trap.stats(1)
    assert (stats["held"], stats["armed"]) == (1, 1)


# --- what a slot makes unambiguous ---


@pytest.mark.parametrize("payload", [b"", b"\0", b"E"], ids=["Linux", "garbage byte", "BSD"])
def test_a_probe_of_a_held_client_is_answered_and_moves_nothing(client: Client, payload: bytes) -> None:
    trap = new_trap()
    arm(trap, client)
    trap.apply(client.at(1), LISTED, ifindex=3, mac=MAC, now_ms=1)
    c = 0 if payload == b"E" else -1
    _, reply, event, *_ = trap.apply(client.at(1, c, payload), LISTED, ifindex=3, mac=MAC, now_ms=2)
    assert event == "PROBE"
    assert reply is not None
    assert client.read(reply) == (ACK, 1, 0, 0, b"")
    assert due_byte(trap, client, INTERVAL_MS) == (1, 0, b"2")


def test_an_old_ack_moves_nothing_back(client: Client) -> None:
    trap = new_trap()
    arm(trap, client)
    trap.apply(client.at(5), LISTED, ifindex=3, mac=MAC, now_ms=1)
    trap.apply(client.at(4), LISTED, ifindex=3, mac=MAC, now_ms=2)
    assert due_byte(trap, client, INTERVAL_MS)[0] == 5


def test_without_memory_an_ack_arms_at_its_position(client: Client) -> None:
    trap = new_trap()
    assert trap.apply(client.at(42), LISTED, ifindex=3, mac=MAC, now_ms=0)[2] == "ARM"
    assert due_byte(trap, client, INTERVAL_MS) == (42, 0, LINE[42 % G : 42 % G + 1])


def test_without_memory_a_probe_is_read_right_at_the_next_plain_ack(client: Client) -> None:
    trap = new_trap()
    trap.apply(client.at(42, -1), LISTED, ifindex=3, mac=MAC, now_ms=0)
    seq, ack, payload = due_byte(trap, client, INTERVAL_MS)
    assert (seq, ack) == (42, NEGATIVE)
    assert payload == LINE[43 % G : 43 % G + 1]
    trap.apply(client.at(43), LISTED, ifindex=3, mac=MAC, now_ms=INTERVAL_MS)
    assert due_byte(trap, client, 2 * INTERVAL_MS) == (43, 0, LINE[43 % G : 43 % G + 1])
    assert trap.apply(client.at(43, -1), LISTED, ifindex=3, mac=MAC, now_ms=3 * INTERVAL_MS)[2] == "PROBE"


# --- bounds ---


def test_past_the_last_slot_clients_get_the_whole_greeting_and_answers_to_probes(client: Client) -> None:
    trap = new_trap(slots=1)
    arm(trap, Client(client.ends, 9))
    trap.apply(client.syn(), LISTED, now_ms=1)
    _, reply, event, *_ = trap.apply(client.at(0), LISTED, now_ms=1)
    assert event == "GREET"
    assert reply is not None
    assert client.read(reply) == (PSH | ACK, 0, 0, 0, GREETING)
    assert trap.apply(client.at(G), LISTED, now_ms=2)[1:3] == (None, "ACKED")
    for c, payload in ((-1, b""), (0, b"E")):
        _, reply, event, *_ = trap.apply(client.at(G, c, payload), LISTED, now_ms=3)
        assert event == "PROBE"
        assert reply is not None
        assert client.read(reply) == (ACK, G, 0, 0, b"")
    stats = trap.stats(3)
    assert (stats["held"], stats["shed_slots"]) == (1, 1)
    trap.apply(Client(client.ends, 9).at(0, flags=RST), LISTED, now_ms=4)
    trap.apply(client.at(G, -1), LISTED, ifindex=3, mac=MAC, now_ms=5)
    assert due_byte(trap, client, INTERVAL_MS + 5) == (G, 0, b"2")


def test_fewer_connections_may_be_set_than_there_are_slots() -> None:
    trap = new_trap(slots=10, connections=2)
    assert [arm(trap, client) for client in clients(4)] == ["ARM", "ARM", "GREET", "GREET"]
    trap.configure(connections=3)
    assert arm(trap, clients(5)[4]) == "ARM"


def test_bandwidth_is_kept_for_those_held_first() -> None:
    trap = new_trap(slots=100, bandwidth_limit_bytes=4000)
    held = Client()
    arm(trap, held)
    newcomers = [Client(port=port) for port in range(100)]
    answered = sum(trap.apply(c.syn(), LISTED, now_ms=0)[1] is not None for c in newcomers)
    events = {trap.apply(c.syn(), LISTED, now_ms=0)[2] for c in newcomers}
    assert answered == (3000 - 40) // 40
    assert events == {"DROPPED"}
    _, reply, event, *_ = trap.apply(held.at(0, -1), LISTED, now_ms=0)
    assert event == "PROBE"
    assert reply is not None
    stats = trap.stats(0)
    assert stats["bytes_out"] == 40 * (answered + 2) <= 4000
    assert stats["shed_new"] == 200 - answered
    assert stats["trapped"]["stutter"] == stats["events"]["TRAP"] == answered + 1


def test_bandwidth_comes_back_with_time_and_no_more_than_a_second_of_it() -> None:
    trap = new_trap(slots=1, bandwidth_limit_bytes=4000)

    def burst(now_ms: int) -> int:
        return sum(trap.apply(Client().syn(), LISTED, now_ms=now_ms)[1] is not None for _ in range(200))

    assert burst(0) == 75
    assert burst(100) == 10
    assert burst(1_000_000) == 75


def test_a_byte_without_bandwidth_loses_its_turn_and_not_its_slot() -> None:
    trap = new_trap(slots=100, bandwidth_limit_bytes=1, unacked_limit=1)
    for client in clients(60):
        trap.apply(client.at(0), LISTED, now_ms=0)
    sent = len(trap.due(INTERVAL_MS))
    assert 0 < sent < 60
    stats = trap.stats(INTERVAL_MS)
    assert stats["shed_held"] == 60 - sent
    assert stats["held"] == 60
    trap.configure(bandwidth_limit_bytes=0)
    assert len(trap.due(2 * INTERVAL_MS)) == 60 - sent, "those sent once are given up, the others had no chance yet"


def test_no_cap_sheds_nothing() -> None:
    trap = new_trap()
    assert all(trap.apply(Client().syn(), LISTED, now_ms=0)[1] for _ in range(5000))
    assert trap.stats(0)["bytes_out"] == trap.stats(0)["bytes_in"] == 5000 * 40


# --- restart ---


def test_a_dump_loaded_elsewhere_goes_on_where_it_was(client: Client) -> None:
    trap = new_trap()
    arm(trap, client, now_ms=50_000)
    due_byte(trap, client, 60_000)
    trap.apply(client.at(1), LISTED, ifindex=3, mac=MAC, now_ms=60_001)
    fresh = Trap(8, bytes(16))
    fresh.configure(greeting_name="mail.example.org")
    assert fresh.load(trap.dump(64_000), now_ms=1_000_000) == 1
    assert fresh.next_due() == 1_006_000
    assert fresh.stats(1_000_000)["held_s"] == 14
    assert due_byte(fresh, client, 1_006_000) == (1, 0, b"2")
    assert fresh.apply(client.at(2), LISTED, now_ms=1_007_000)[2] == "ACKED", "the secret came with the dump"


def test_settings_changed_after_a_load_keep_the_loaded_secret(client: Client) -> None:
    fresh = Trap(8, bytes(16))
    fresh.load(new_trap().dump())
    fresh.configure(mode="throttle")
    assert fresh.decide(client.syn(), LISTED)[1] == new_trap("throttle").decide(client.syn(), LISTED)[1]


def test_a_dump_is_the_same_after_a_round_trip() -> None:
    trap = new_trap(slots=50)
    for i, client in enumerate(clients(40)):
        arm(trap, client, now_ms=i * 100)
        trap.apply(client.at(i), LISTED, ifindex=i, mac=MAC if i % 3 else b"", now_ms=i * 100)
    dump = trap.dump(9_999)
    fresh = new_trap(slots=50)
    assert fresh.load(dump, now_ms=9_999) == 40
    assert fresh.dump(9_999) == dump
    assert fresh.due(13_900) == trap.due(13_900)


def test_a_dump_that_does_not_fit_is_loaded_as_far_as_it_goes() -> None:
    trap = new_trap(slots=20)
    for client in clients(20):
        arm(trap, client)
    assert new_trap(slots=5).load(trap.dump()) == 5


@pytest.mark.parametrize("dump", [b"", b"SCTRAP", b"SCTRAP\0\2" + bytes(16), b"SCTRAP\0\1" + bytes(17), bytes(96)])
def test_what_is_no_dump_changes_nothing(dump: bytes) -> None:
    trap = new_trap()
    arm(trap, Client())
    before = trap.dump(0)
    with pytest.raises(ValueError, match="not a dump"):
        trap.load(dump)
    assert trap.dump(0) == before


@given(st.binary(max_size=72 * 4), st.binary(min_size=16, max_size=16))
def test_any_bytes_in_a_dump_do_no_harm(body: bytes, secret: bytes) -> None:
    trap = new_trap(slots=3)
    body += bytes(-len(body) % 72)
    loaded = trap.load(b"SCTRAP\0\1" + secret + body, now_ms=0)
    assert loaded == trap.stats(0)["held"] <= 3
    for now_ms in range(0, 100 * INTERVAL_MS, INTERVAL_MS):
        trap.due(now_ms)


# --- settings ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "default"},
        {"mode": "tarpit"},
        {"greeting_name": ""},
        {"greeting_name": "two words"},
        {"greeting_name": "a\r\nb"},
        {"greeting_name": "ü"},
        {"greeting_name": "x" * 256},
        {"throttle_window": 0},
        {"throttle_window": 65536},
        {"stutter_interval_s": 0},
        {"stutter_interval_s": float("nan")},
        {"stutter_interval_s": 86401},
        {"connections": 0},
        {"connections": 9},
        {"bandwidth_limit_bytes": -1},
        {"unacked_limit": 0},
        {"unacked_limit": 256},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_name_and_changes_nothing(wrong: dict) -> None:
    trap = new_trap()
    before = trap.decide(Client().syn(), LISTED)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: "):
        trap.configure(**{"mode": "drop", **wrong})
    assert trap.decide(Client().syn(), LISTED) == before


def test_a_trap_wants_a_secret_of_its_length_and_some_slots() -> None:
    with pytest.raises(ValueError, match="secret: got 15"):
        Trap(8, bytes(15))
    with pytest.raises(ValueError, match="slots: got 0"):
        Trap(0, bytes(16))


# --- against a model, and against itself ---

DEEDS = st.sampled_from(["handshake", "ack", "probe", "reset", "due"])
STEPS = st.lists(st.tuples(DEEDS, st.integers(0, 9), st.integers(1, 30_000)), max_size=80)


@settings(deadline=None)
@given(STEPS)
def test_the_slots_are_a_queue_by_last_sending(steps: list[tuple[str, int, int]]) -> None:
    trap = new_trap(slots=6, unacked_limit=2)
    everybody = clients(10)
    model: OrderedDict[int, list[int]] = OrderedDict()  # client -> [last sending, k, unanswered], oldest first
    now_ms = 0
    for what, i, passed_ms in steps:
        now_ms += passed_ms
        client, held = everybody[i], model.get(i)
        if what == "due":
            expected = []
            for j, (sent_ms, k, unanswered) in list(model.items()):
                if now_ms < sent_ms + INTERVAL_MS:
                    break
                del model[j]
                if unanswered < 2:
                    expected.append((j, k))
                    model[j] = [now_ms, k, unanswered + 1]
            packets = [packet for packet, _, _ in trap.due(now_ms)]
            got = [(j, everybody[j].read(packet)[1]) for (j, _), packet in zip(expected, packets, strict=True)]
            assert got == expected
        elif what == "reset":
            trap.apply(client.at(0, flags=RST), LISTED, now_ms=now_ms)
            model.pop(i, None)
        elif held or what == "handshake":
            k = held[1] + (what == "ack") if held else 0
            event = trap.apply(client.at(k, -1 if held and what == "probe" else 0), LISTED, now_ms=now_ms)[2]
            if held:
                assert event == ("PROBE" if what == "probe" else "ACKED")
                model[i] = [held[0], k, 0 if what == "ack" else held[2]]
            elif len(model) < 6:
                assert event == "ARM"
                model[i] = [now_ms, 0, 0]
            else:
                assert event == "GREET"
        assert trap.stats(now_ms)["held"] == len(model)


def test_threads_agree_on_every_slot_and_counter() -> None:
    trap = new_trap(slots=64, stutter_interval_s=0.001, unacked_limit=255)
    sent: list[int] = []
    done = threading.Event()

    def talk(first: int) -> None:
        mine = [Client(ENDS["v4"], 2000 + first + i) for i in range(16)]
        for turn in range(60):
            for client in mine:
                arm(trap, client, now_ms=turn)
                trap.apply(client.at(turn), LISTED, now_ms=turn)
                if turn % 2:
                    trap.apply(client.at(0, flags=RST), LISTED, now_ms=turn)

    def serve() -> None:
        now_ms = 0
        while not done.is_set():
            now_ms += 1
            sent.append(len(trap.due(now_ms)))
            trap.configure(connections=64)
            trap.stats(now_ms)
            trap.dump(now_ms)

    talkers = [threading.Thread(target=talk, args=(n * 16,)) for n in range(4)]
    server = threading.Thread(target=serve)
    for thread in [server, *talkers]:
        thread.start()
    for thread in talkers:
        thread.join()
    done.set()
    server.join()
    stats = trap.stats()
    assert stats["held"] == 0
    assert stats["sent_bytes"] == sum(sent)
    assert stats["trapped"]["stutter"] == stats["events"]["TRAP"] == 4 * 16 * 60
    assert stats["events"]["RST"] == 4 * 16 * 30
    assert sum(stats["events"].values()) == 4 * 16 * (60 * 3 + 30)
    assert stats["events"]["SYNACK"] == 0
    assert trap.apply(Client().raw(SYN), LISTED)[2] == "TRAP"
