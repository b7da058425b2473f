"""The catalogue's format, which answers its rules take, and the verdicts that follow; health, pace and cache."""

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.errors import ConfigError
from spamcannibal.remote import catalogue, health
from spamcannibal.remote.cache import Cache
from spamcannibal.remote.health import Finding, Kind, Memory, Probe, Spent, State
from spamcannibal.remote.judge import Judge, choose_text, pointers
from spamcannibal.remote.lists import Accept, RemoteList, decode_lists, is_refusal, parse_codes
from spamcannibal.remote.pace import DAY_S, Pace
from spamcannibal.remote.verdict import Found, Outcome
from spamcannibal.remote.wire import NXDOMAIN, Reply
from spamcannibal.settings.remote import RemoteSettings

REFUSALS = ["127.0.0.0", "127.0.0.1", "127.0.0.255", "127.0.1.255", "127.255.255.0", "127.255.255.252",
            "127.255.255.254", "127.255.255.255"]  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "takes", "leaves"),
    [
        ("127.0.0.2", ["127.0.0.2"], ["127.0.0.3", "127.0.0.1"]),
        ("127.0.0.4-127.0.0.7", ["127.0.0.4", "127.0.0.7"], ["127.0.0.3", "127.0.0.8"]),
        ("127.0.0.8/29", ["127.0.0.8", "127.0.0.15"], ["127.0.0.7", "127.0.0.16"]),
        ("&0.0.0.4", ["127.0.0.4", "127.0.0.7", "127.9.9.12"], ["127.0.0.3", "127.0.0.8", "127.0.0.255"]),
        ("&0.0.0.6", ["127.0.0.6", "127.0.0.14"], ["127.0.0.2", "127.0.0.4"]),
        ("127.0.0.0/8", ["127.0.0.2", "127.255.254.255"], REFUSALS),
        ("127.0.0.1-127.255.255.255", ["127.0.0.2", "127.255.254.255"], REFUSALS),
        ("127.0.0.255", ["127.0.0.255"], ["127.0.1.255"]),
        ("127.0.1.255", ["127.0.1.255"], ["127.0.0.255"]),
    ],
)
def test_a_rule_takes_these_answers_and_no_refusal(codes: str, takes: list[str], leaves: list[str]) -> None:
    rule = parse_codes(codes)
    assert rule is not None
    assert [text for text in takes if not rule.takes(parse_addr(text))] == []
    assert [text for text in leaves if rule.takes(parse_addr(text))] == []


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", "127.0.0.0", "127.255.255.254", "127.255.255.0/24", "127.0.0.0-127.0.0.1", "127.0.0.0/31",
     "127.0.0.7-127.0.0.4", "126.0.0.1-127.0.0.4", "127.0.0.2-128.0.0.1", "10.0.0.1", "::1", "::/0", "0.0.0.0/0",
     "127.0.0.2/33", "127.0.0.3/24", "&127.0.0.1", "&0.0.0.0", "&", "-", "127.0.0.2-", "x", "127.0.0.02"],
)  # fmt: skip
def test_a_rule_that_could_take_nothing_or_more_than_127_is_none(text: str) -> None:
    assert parse_codes(text) is None


@given(st.text(max_size=40) | st.from_regex(r"&?[0-9./-]{1,30}"))
def test_rules_are_read_without_an_exception_and_stay_inside_127(text: str) -> None:
    rule = parse_codes(text)
    assert rule is None or not any(rule.takes(parse_addr(code)) for code in ("126.255.255.255", "128.0.0.0", "0.0.0.0"))


@given(st.binary(min_size=3, max_size=3))
def test_what_any_takes_is_all_but_refusals(tail: bytes) -> None:
    code = b"\x7f" + tail
    verdict = Judge(RemoteList("bl.test", any=True)).verdict(Reply(0, (code,), 60))
    assert (verdict.outcome is Outcome.UNKNOWN) == is_refusal(code)
    assert (verdict.outcome is Outcome.LISTED) == (not is_refusal(code))


RULES = (Accept("127.0.0.2", "first"), Accept("127.0.0.2-127.0.0.4", "second", 3.0), Accept("127.0.0.5", "third", 3.0))


@pytest.mark.parametrize(
    ("codes", "reason", "weight"),
    [
        (["127.0.0.2"], "second", 3.0),
        (["127.0.0.5", "127.0.0.4"], "second", 3.0),
        (["127.0.0.4", "127.0.0.5"], "second", 3.0),
        (["127.0.0.5"], "third", 3.0),
    ],
)
def test_the_heaviest_rule_speaks_and_of_equals_the_first_in_the_file(
    codes: list[str], reason: str, weight: float
) -> None:
    judge = Judge(RemoteList("bl.test", accept=RULES, weight=2.0))
    verdict = judge.verdict(Reply(0, tuple(map(parse_addr, codes)), 60))
    assert (verdict.outcome, verdict.reason, verdict.weight) == (Outcome.LISTED, reason, weight)
    assert list(map(format_addr, verdict.codes)) == codes


@pytest.mark.parametrize(
    ("texts", "want"),
    [
        ([], ""),
        (["first", "second"], "first"),
        (["first", "open SMTP relay", "more"], "open SMTP relay"),
        (["an smtp relay", "sent SPAM", "spam too"], "sent SPAM"),
    ],
)
def test_of_several_texts_one_is_chosen(texts: list[str], want: str) -> None:
    assert choose_text(Reply(0, tuple(text.encode() for text in texts))) == want


def test_a_text_is_cut_and_odd_bytes_do_no_harm() -> None:
    assert choose_text(Reply(0, (b"x" * 5000,))) == "x" * 1000
    assert choose_text(Reply(0, (b"\xff\x00",))) == "\ufffd\0"
    assert choose_text("timeout") == ""


def test_names_of_pointers_are_text() -> None:
    assert pointers(Reply(0, (b"a.test",), 1)).names == ("a.test",)
    assert pointers(Reply(NXDOMAIN)).outcome is Found.MISSING


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[list]]\nzone = 'bl.test'", "f: list[0] (bl.test).accept: missing, want rules, or any = true"),
        ("[[list]]\nany = true", "f: list[0].zone: missing"),
        ("[[list]]\nzone = 'bl..test'\nany = true", "f: list[0].zone: wrong value, got 'bl..test', want a domain name"),
        ("[[list]]\nzone = 'bl.test'\nany = true\nfamilys = ['ip4']", "f: list[0].familys: unknown key, did you"),
        ("[[list]]\nzone = 'bl.test'\nany = true\nfamilies = []", "f: list[0] (bl.test).families: got none"),
        ("[[list]]\nzone = 'bl.test'\nany = true\n[[list.accept]]\ncodes = '127.0.0.2'",
         "f: list[0] (bl.test).any: got true beside accept rules"),
        ("[[list]]\nzone = 'bl.test'\n[[list.accept]]\ncodes = '127.0.0.1'",
         "f: list[0].accept[0].codes: wrong value, got '127.0.0.1', want 127.x.y.z, FIRST-LAST"),
        ("[[list]]\nzone = 'bl.test'\nany = true\ncode = '127.0.0.1'", "f: list[0].code: wrong value, got '127.0.0.1'"),
        ("[[list]]\nzone = 'bl.test'\nany = true\nexpires_s = '5 years'", "f: list[0].expires_s: wrong value"),
        ("[[lists]]\nzone = 'bl.test'", "f: lists: unknown section, did you mean list?"),
        ("list = 3", "f: list: wrong value, got 3, want tables: [[list]]"),
        ("list = ", "f: not TOML: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_catalogue_names_file_list_and_key(text: str, problem: str) -> None:
    problems: list[str] = []
    decode_lists(text, "f", problems)
    assert len(problems) == 1 and problems[0].startswith(problem)


def test_a_list_as_it_is_documented_is_read() -> None:
    from spamcannibal.remote import lists

    example = (lists.__doc__ or "").split("\n\n")[1].replace("    ", "")
    problems: list[str] = []
    (one,) = decode_lists(example, "f", problems)
    assert problems == [] and (one.zone, one.weight, one.code) == ("bl.example.org", 2, "127.0.0.3")
    assert one.accept == (Accept("127.0.0.2", "spam source"), Accept("127.0.0.4-127.0.0.7", weight=0.5))
    assert one.message() == "Blacklisted by: bl.example.org"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def test_the_settings_choose_by_zone_in_any_case_and_dead_lists_are_told(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", "[[list]]\nzone = 'A.test'\nany = true\n[[list]]\nzone = 'd.test'\ndead = 'since 2020'")
    write(tmp_path, "b.toml", "[[list]]\nzone = 'b.test'\nany = true\nkey_file = 'key'")
    write(tmp_path, "notes.txt", "nonsense")
    warned: list[str] = []
    remote = RemoteSettings(lists=("b.test", "a.TEST", "d.test", "A.test"), lists_dir=str(tmp_path))
    found = catalogue.chosen(remote, warned.append)
    assert [(one.zone, one.key_file) for one in found] == [("b.test", str(tmp_path / "key")), ("a.test", "")]
    assert warned == ["remote.lists: d.test is dead, since 2020: not asked; take it out of the settings"]


def test_what_is_wrong_with_catalogues_and_choice_is_told_all_at_once(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", "[[list]]\nzone = 'a.test'\nany = true\n[[list]]\nzone = 'a.test'\nany = true")
    write(tmp_path, "b.toml", "x")
    (tmp_path / "c.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError) as caught:
        catalogue.chosen(RemoteSettings(lists=("b.test",), lists_dir=str(tmp_path)))
    told = "\n".join(caught.value.problems)
    assert "the same zone twice" in told and "b.toml: not TOML" in told and "c.toml: not UTF-8" in told
    assert "no such list: b.test is in no file" in told and "did you mean a.test?" in told


def test_resolvers_are_those_of_the_settings_else_of_the_system(tmp_path: Path) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("# x\nnameserver 192.0.2.53\nnameserver 2001:db8::53 # y\nnameserver fe80::1%eth0\nnameserver\n")
    system = [(parse_addr("192.0.2.53"), 53), (parse_addr("2001:db8::53"), 53)]
    assert catalogue.resolvers(RemoteSettings(), conf) == system
    assert catalogue.resolvers(RemoteSettings(), tmp_path / "none") == [(parse_addr("127.0.0.1"), 53)]
    many = RemoteSettings(resolvers=tuple(f"192.0.2.{n}" for n in range(1, 20)))
    assert len(catalogue.resolvers(many, conf)) == catalogue.RESOLVERS_LIMIT
    own = RemoteSettings(resolvers=("192.0.2.1", "[2001:db8::1]:5353", "192.0.2.1:53"))
    assert catalogue.resolvers(own, conf) == [(parse_addr("192.0.2.1"), 53), (parse_addr("2001:db8::1"), 5353)]


def a_list(**changes: object) -> RemoteList:
    return RemoteList("bl.test", any=True, **changes)  # type: ignore[arg-type]


@given(st.binary(min_size=16, max_size=16))
def test_test_points_are_those_of_the_standard_and_one_that_nobody_has(noise: bytes) -> None:
    listed, clear, nobody = health.probes(a_list(), "ip4", noise)
    assert (listed, clear) == (Probe(parse_addr("127.0.0.2"), True), Probe(parse_addr("127.0.0.1"), False))
    assert nobody.addr[:3] == bytes((192, 0, 2)) and 1 <= nobody.addr[3] <= 254 and not nobody.is_listed
    v6 = health.probes(a_list(), "ip6", noise)
    assert [probe.addr[:12].hex() for probe in v6[:2]] == [f"{'0' * 20}ffff"] * 2
    assert [probe.addr[12:] for probe in v6[:2]] == [parse_addr("127.0.0.2"), parse_addr("127.0.0.1")]
    assert v6[2].addr[:4].hex() == "20010db8" and len(v6[2].addr) == 16


def test_test_points_can_be_changed_and_left_out() -> None:
    one = a_list(test_listed=("192.0.2.1", "2001:db8::1"), test_clear=("192.0.2.2",), has_test_points=True)
    assert health.probes(one, "ip4", bytes(16)) == [
        Probe(parse_addr("192.0.2.1"), True), Probe(parse_addr("192.0.2.2"), False)
    ]  # fmt: skip
    assert health.probes(one, "ip6", bytes(16)) == [Probe(parse_addr("2001:db8::1"), True)]
    assert all(not probe.is_listed for probe in health.probes(a_list(has_test_points=False), "ip4", bytes(16)))


YES, NO = Reply(0, (parse_addr("127.0.0.2"),), 60), Reply(NXDOMAIN)
HERE, THERE = Probe(parse_addr("127.0.0.2"), True), Probe(parse_addr("127.0.0.1"), False)


@pytest.mark.parametrize(
    ("here", "there", "kind", "why"),
    [
        (YES, NO, Kind.GOOD, ""),
        (YES, YES, Kind.BAD, "lists everything"),
        (NO, NO, Kind.BAD, "lists nothing"),
        (NO, YES, Kind.BAD, "lists nothing"),
        ("timeout", NO, Kind.UNSURE, "no answer about 127.0.0.2: timeout"),
        ("timeout", YES, Kind.BAD, "lists everything"),
        (Reply(0, (parse_addr("198.51.100.9"),)), NO, Kind.BAD, "answers 198.51.100.9 about 127.0.0.2"),
        (YES, Reply(0, (parse_addr("198.51.100.9"),)), Kind.BAD, "answers 198.51.100.9 about 127.0.0.1"),
        (Reply(0, (parse_addr("127.255.255.254"),)), NO, Kind.BAD, "refuses questions"),
    ],
)
def test_the_worst_answer_to_a_test_point_decides(
    here: Reply | str, there: Reply | str, kind: Kind, why: str
) -> None:
    finding = health.examine([(HERE, here), (THERE, there)])
    assert finding.kind is kind and why in finding.why


def states(findings: str, passes: int = 2) -> str:
    """For each finding (Good, Bad, Unsure) whether the list is set aside afterwards."""
    kinds = {"G": Kind.GOOD, "B": Kind.BAD, "U": Kind.UNSURE}
    state, told = None, ""
    for now, letter in enumerate(findings):
        state = health.step(state, Finding(kinds[letter], "" if letter == "G" else "why"), passes, now)
        assert bool(state.why) == state.is_aside and state.checked == now
        told += "-+"[state.is_aside]
    return told


@pytest.mark.parametrize(
    ("findings", "passes", "want"),
    [
        ("GGG", 2, "---"),
        ("GBGG", 2, "-++-"),
        ("GBGBGG", 2, "-++++-"),
        ("BGGGG", 4, "++++-"),
        ("UG", 2, "+-"),
        ("GUG", 2, "-+-"),
        ("BUGG", 2, "+++-"),
        ("BGUG", 2, "+++-"),
    ],
)
def test_a_list_goes_at_once_and_comes_back_slowly(findings: str, passes: int, want: str) -> None:
    assert states(findings, passes) == want


def test_who_is_set_aside_is_tested_sooner() -> None:
    good, bad = State("", 0, 1000.0), State("why", 1, 1000.0)
    assert [health.due_at(state, 3600.0, 300.0) for state in (None, good, bad)] == [0.0, 4600.0, 1300.0]
    assert health.due_at(bad, 60.0, 300.0) == 1060.0


def test_memories_of_two_processes_merge_and_yesterdays_count_is_dropped() -> None:
    ours = Memory({"a ip4": State("x", 1, 5.0), "b ip4": State("", 0, 1.0)}, {})
    theirs = Memory({"b ip4": State("y", 1, 2.0), "c ip4": State("", 0, 1.0)}, {"a": Spent(7, 3), "b": Spent(6, 9)})
    both = health.merge(ours, theirs, {"a": 4, "c": 1}, 7 * DAY_S + 9.0)
    assert {name: state.why for name, state in both.states.items()} == {"a ip4": "x", "b ip4": "y", "c ip4": ""}
    assert both.spent == {"a": Spent(7, 7), "c": Spent(7, 1)}
    assert health.decode(health.encode(both)) == both


def test_what_was_found_while_the_clock_was_wrong_does_not_outlast_what_is_found_now() -> None:
    now = 7 * DAY_S + 9.0
    ours = Memory({"a ip4": State("", 0, now), "b ip4": State("x", 2, now + 1e8)}, {})
    theirs = Memory({"a ip4": State("y", 2, now + 1e8), "b ip4": State("x", 2, now + 1e8)}, {"a": Spent(9999, 3)})
    both = health.merge(ours, theirs, {}, now)
    assert both == Memory({"a ip4": State("", 0, now), "b ip4": State("x", 2, now)}, {})


@given(st.binary(max_size=60))
def test_a_memory_that_is_none_is_none(raw: bytes) -> None:
    assert health.decode(raw) is None or raw.strip().startswith(b"{")


def test_a_pace_bounds_what_is_in_flight() -> None:
    pace = Pace(3, 0, 0, 0, 0.0)
    for left in (3, 2, 1, 0):
        assert pace.room(0.0) == left
        if left:
            pace.take()
    pace.give()
    assert pace.room(0.0) == 1 and pace.wait_s() == 0


def test_a_pace_bounds_questions_a_second() -> None:
    pace, sent = Pace(1000, 10.0, 0, 0, 100.0), []
    now = 100.0
    while now < 110.0:
        for _ in range(pace.room(now)):
            pace.take()
            pace.give()
            sent.append(now)
        now += max(0.001, pace.wait_s())
    assert 100 <= len(sent) <= 111
    # In any span of time at most its share and one burst.
    for first, earlier in enumerate(sent):
        assert all(count <= 11 + 10 * (later - earlier) for count, later in enumerate(sent[first:], 1))


def test_a_clock_set_back_neither_stops_nor_bursts() -> None:
    pace = Pace(100, 10.0, 0, 0, 1000.0)
    for _ in range(10):
        pace.take()
    assert pace.room(900.0) == 0 and pace.room(900.2) == 2


def test_a_pace_bounds_questions_a_day() -> None:
    noon = 20_000 * DAY_S + DAY_S / 2
    pace = Pace(1000, 0, 10, 7, noon)
    assert pace.room(noon) == 3
    for _ in range(3):
        pace.take()
    assert pace.room(noon) == 0 and pace.is_spent(noon) and not pace.is_spent(noon + DAY_S / 2)
    assert pace.room(noon + DAY_S / 2) == 10


def test_a_cache_keeps_what_it_may_as_long_as_it_may() -> None:
    cache: Cache[str] = Cache(2, 100.0)
    cache.put("a", "x", 10, 0.0)
    cache.put("b", "y", 1000, 0.0)
    cache.put("c", "z", 0, 0.0)
    assert [cache.get(key, 9.9) for key in "abc"] == ["x", "y", None]
    assert [cache.get(key, 10.0) for key in "ab"] == [None, "y"]
    assert cache.get("b", 100.0) is None and len(cache) == 0
    for key in "abc":
        cache.put(key, key, 50, 200.0)
    assert len(cache) == 2 and cache.get("a", 201.0) is None
    assert Cache(0, 1.0).get("a", 0.0) is None


def test_the_shipped_settings_name_no_list_and_no_resolver() -> None:
    shipped = tomllib.loads((Path(__file__).parent.parent / "conf" / "spamcannibal.toml").read_text())
    assert "lists" not in shipped.get("remote", {})
    assert RemoteSettings().lists == RemoteSettings().resolvers == ()
    assert msgspec.convert({"canary": []}, RemoteSettings).canary == ()
