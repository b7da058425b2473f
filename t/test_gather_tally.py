"""The tally: n distinct reporters within t, white wins, duplicates count once, reports fade, and it says why."""

import random
import tracemalloc
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.gather.decision import EXCUSES, ORDER, Terms, Voice
from spamcannibal.gather.line import VERBS, Report
from spamcannibal.gather.tally import NOTE_LIMIT, SESSIONS, Tally

KEY = parse_key("192.0.2.7")
HOUR, DAY = 3600.0, 86400.0
WEIGHTS = {"black": 2.0, "white": 1.0, "yellow": 1.0, "brown": 1.0, "nobl": 1.0}
TERMS = Terms(WEIGHTS, dict.fromkeys(ORDER, DAY), HOUR, HOUR, 60.0, 1000)
VOICES = {name: Voice(name, 1.0, 1.0) for name in "abc"}
NOW = 1_800_000_000.0


def hear(tally, *said, key=KEY):
    """Report (reporter, colour, seconds from NOW); the last one's decision."""
    decision = None
    for name, colour, at in said:
        decision = tally.hear(Report(colour, key), VOICES.get(name, name), NOW + at)
    return decision


def holds(*said, at=None, terms=TERMS):
    """The colour that holds at a time (that of the last report if not said)."""
    tally = Tally(terms)
    hear(tally, *said)
    return tally.explain(KEY, NOW + (said[-1][2] if at is None else at)).colour


@pytest.mark.parametrize(
    ("said", "colour"),
    [
        ([("a", "black", 0)], "brown"),
        ([("a", "black", 0), ("b", "black", 0)], "black"),
        ([("a", "black", 0), ("b", "black", HOUR)], "black"),
        ([("a", "black", 0), ("b", "black", HOUR + 60)], "brown"),
        ([("a", "black", 0), ("b", "black", HOUR + 60), ("c", "black", HOUR + 60)], "black"),
        ([("a", "black", t) for t in range(0, 3000, 100)], "brown"),
        ([("a", "black", 0), ("b", "brown", 0)], "brown"),
        ([("a", "black", 0), ("b", "black", 0), ("c", "white", 1)], "white"),
        ([("c", "white", 0), ("a", "black", DAY - 60), ("b", "black", DAY - 60)], "white"),
        ([("c", "white", 0), ("a", "black", DAY), ("b", "black", DAY)], "black"),
        ([("a", "yellow", 0), ("b", "nobl", 0)], "yellow"),
        ([("a", "nobl", 0), ("b", "black", 0), ("c", "black", 0)], "nobl"),
        ([("a", "white", 0), ("b", "yellow", 0)], "white"),
    ],
)
def test_what_holds(said, colour):
    assert holds(*said) == colour


def test_reports_fade_and_are_gone():
    said = [("a", "black", 0), ("b", "black", 0)]
    tally = Tally(TERMS)
    hear(tally, *said)
    weights = [tally.explain(KEY, NOW + at).weights["black"][0] for at in (0, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR)]
    assert weights == [2.0, 2.0, 1.0, 0.5, 0.0]


def test_one_reporter_with_most_above_his_weight_counts_by_session():
    voice = Voice("own", 0.5, 1.5)
    terms = TERMS._replace(weights={**WEIGHTS, "black": 1.5})
    same_session = [(voice, "black", t) for t in range(0, 600, 50)]
    assert holds(*same_session, terms=terms) == ""
    assert holds(*same_session, (voice, "black", 700), (voice, "black", 1400), terms=terms) == "black"
    tally = Tally(terms)
    hear(tally, *((voice, "black", t * 100) for t in range(10)))
    assert tally.explain(KEY, NOW + 900).weights["black"] == (1.5, 1.5)


def test_a_decision_is_made_once_and_again_when_half_its_time_is_over():
    tally = Tally(TERMS._replace(within_s=DAY))
    first = hear(tally, ("a", "black", 0), ("b", "black", 1))
    assert (first.colour, first.by, first.until) == ("black", "b", NOW + 1 + DAY)
    assert first.why == "black: weight 2 of 2 wanted, said by a 1, b 1"
    assert hear(tally, ("c", "black", 2), ("a", "black", DAY / 2)) is None
    again = hear(tally, ("a", "black", DAY / 2 + 2))
    assert (again.colour, again.until) == ("black", NOW + DAY / 2 + 2 + DAY)


def test_fading_does_not_turn_black_into_brown_while_it_lasts():
    tally = Tally(TERMS)
    assert hear(tally, ("a", "black", 0), ("b", "black", 0)).colour == "black"
    assert hear(tally, ("c", "brown", 9 * HOUR)) is None
    assert hear(tally, ("c", "brown", DAY + 1)).colour == "brown"


def test_a_retracted_decision_is_made_again():
    tally = Tally(TERMS)
    assert hear(tally, ("a", "white", 0)).colour == "white"
    assert hear(tally, ("a", "white", 1)) is None
    tally.retract(KEY)
    assert hear(tally, ("a", "white", 2)).colour == "white"


def test_it_explains_why_and_why_not_yet():
    tally = Tally(TERMS)
    assert tally.explain(KEY, NOW) is None
    hear(tally, ("a", "black", 0))
    assert tally.explain(KEY, NOW).text == "brown; black 1 of 2 (a 1); brown 1 of 1 (a 1)"
    hear(tally, ("b", "black", 0))
    assert tally.explain(KEY, NOW).text == "black; black 2 of 2 (a 1, b 1); brown 2 of 1 (a 1, b 1)"
    assert tally.explain(KEY, NOW + DAY).text == "nothing holds yet"


REPORTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(VERBS), st.integers(0, 200).map(lambda n: n * 47.0)),
    min_size=1,
    max_size=8,
)


@given(REPORTS, st.randoms(use_true_random=False), st.floats(0, 2 * DAY))
def test_the_order_in_which_reports_come_does_not_matter(said, rng, later_s):
    voices = [(Voice(name, 0.7, 2.0), colour, at) for name, colour, at in said]
    shuffled = rng.sample(voices, len(voices))
    accounts = []
    for reports in (voices, shuffled):
        tally = Tally(TERMS)
        hear(tally, *reports)
        found = tally.explain(KEY, NOW + later_s)
        accounts.append((found.colour, {c: round(w, 6) for c, (w, _) in found.weights.items()}))
    assert accounts[0] == accounts[1]


@given(REPORTS, st.integers(1, 5))
def test_saying_it_again_at_once_changes_nothing(said, times):
    once, often = Tally(TERMS), Tally(TERMS)
    for report in said:
        hear(once, report)
        hear(often, *[report] * times)
    at = NOW + max(at for *_, at in said)
    assert once.explain(KEY, at).weights == often.explain(KEY, at).weights


@given(REPORTS)
def test_no_reporter_counts_for_more_than_his_most_and_nobody_counts_alone_for_two(said):
    tally = Tally(TERMS)
    hear(tally, *said)
    found = tally.explain(KEY, NOW + max(at for *_, at in said))
    for parts in found.said.values():
        assert len({name for name, _ in parts}) == len(parts)
        assert all(part <= 1.0 for _, part in parts)
    if len({name for name, *_ in said}) < 2:
        assert found.colour != "black"


@given(REPORTS)
def test_while_somebody_excuses_an_address_it_is_never_black(said):
    tally = Tally(TERMS)
    is_excused = False  # all reports come within a day
    for report in sorted(said, key=lambda report: report[2]):
        is_excused |= report[1] in EXCUSES
        decision = hear(tally, report)
        assert not is_excused or decision is None or decision.colour in EXCUSES


@given(REPORTS)
def test_a_decision_says_what_the_account_says(said):
    tally = Tally(TERMS)
    for report in said:
        decision = hear(tally, report)
        if decision is not None:
            found = tally.explain(KEY, NOW + report[2])
            assert (decision.colour, decision.colour) == (found.colour, found.decided)
            assert decision.weight == found.weights[decision.colour][0] >= decision.wanted


def test_sessions_of_one_reporter_are_bounded():
    tally = Tally(TERMS)
    hear(tally, *((Voice("a", 0.001, 100.0), "black", t * 100.0) for t in range(1000)))
    assert tally.explain(KEY, NOW + 99_900).weights["black"][0] == pytest.approx(0.001 * SESSIONS)


def test_many_addresses_take_the_memory_of_those_that_are_kept():
    tally = Tally(TERMS._replace(addresses=2000))
    rng = random.Random(1)
    voice = VOICES["a"]

    def flood(count):
        for n in range(count):
            tally.hear(Report("black", rng.randbytes(4)), voice, NOW + n / 1000)

    flood(3000)
    tracemalloc.start()
    try:
        flood(50_000)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(tally) == 2000
    assert tally.forgotten >= 50_000  # of 53,000, some twice
    assert grown < 2000 * 1000


def test_who_was_silent_longest_is_forgotten_first():
    tally = Tally(TERMS._replace(addresses=2))
    one, two, three = (parse_key(f"192.0.2.{n}") for n in (1, 2, 3))
    for key, at in ((one, 0), (two, 1), (one, 2), (three, 3)):
        hear(tally, ("a", "black", at), key=key)
    assert tally.explain(two, NOW) is None
    assert tally.explain(one, NOW) is not None and tally.explain(three, NOW) is not None


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=80),
)
@example(2, [("c", 3), ("c", 2), ("b", 1), ("b", 4), ("a", 4), ("c", 1)])
def test_every_reporter_has_his_share_of_the_room_whatever_others_say(room, said):
    tally = Tally(TERMS._replace(addresses=room))
    words = {name: [] for name in "abc"}
    for at, (name, n) in enumerate(said):
        key = bytes((192, 0, 2, n))
        hear(tally, (name, "black", at), key=key)
        words[name] = [key, *(other for other in words[name] if other != key)]
        for who, keys in words.items():
            for kept in keys[: room // 3]:
                assert who in dict(tally.explain(kept, NOW + at).said["black"])
    heard = {key: tally.explain(key, NOW + len(said)) for keys in words.values() for key in keys}
    assert sum(len(account.said["black"]) for account in heard.values() if account) == min(
        room, sum(map(len, words.values()))
    )
    assert len(tally) == len([account for account in heard.values() if account])


def test_a_flood_takes_its_own_words_away_and_leaves_what_others_said_of_the_same_addresses():
    tally = Tally(TERMS._replace(addresses=100))
    keys = [n.to_bytes(4) for n in range(1 << 24, (1 << 24) + 1000)]
    for key in keys[:10]:
        hear(tally, ("a", "black", 0), key=key)
    for n, key in enumerate(keys):
        hear(tally, ("b", "black", 1 + n / 100), key=key)
    assert [len(tally.explain(key, NOW + 20).said["black"]) for key in keys[:10]] == [1] * 10
    assert tally.forgotten == 910 and len(tally) == 100
    assert (round(tally.named("a", NOW)), round(tally.named("b", NOW + 11), -1)) == (10, 1000)
    assert tally.named("b", NOW + 11 + HOUR) == pytest.approx(tally.named("b", NOW + 11) / 2)


# What a decision tells.


def told(*said, limit=2.0):
    """The decision of all (reporter, reason) together, who say black: it needs each of them."""
    tally = Tally(TERMS._replace(weights={**WEIGHTS, "black": limit}))
    for n, (name, reason) in enumerate(said):
        decision = tally.hear(Report("black", KEY, reason), Voice(name, limit / len(said), limit), NOW + n)
    return decision


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([("mx1", "hit a trap")], "hit a trap"),
        ([("mx1", "x" * 200)], "x" * 200),
        ([("mx1", "")], ""),
        ([("mx1", "hit a trap"), ("mx2", "unknown users")], "mx1: hit a trap; mx2: unknown users"),
        ([("mx1", "hit a trap"), ("mx2", "hit a trap")], "mx1, mx2: hit a trap"),
        ([("mx1", "hit a trap"), ("mx2", "")], "mx1: hit a trap; mx2"),
        ([("mx1", ""), ("mx2", "hit a trap")], "mx1; mx2: hit a trap"),
        ([("mx1", ""), ("mx2", "")], ""),
    ],
)
def test_the_text_says_who_gave_which_reason(said, text):
    assert told(*said).text == text


def test_the_evidence_has_a_line_for_each_reporters_reason():
    assert told(("mx1", "hit a trap"), ("mx2", ""), ("mx3", "auth failures")).grounds == (
        "black: weight 2 of 2 wanted, said by mx1 0.667, mx2 0.667, mx3 0.667\nmx1: hit a trap\nmx3: auth failures"
    )


def test_what_many_reporters_say_is_cut():
    decision = told(*((f"mx{n}", "y" * 200) for n in range(40)))
    assert len(decision.text) == 200 and decision.text.startswith("mx0, mx1, mx10, ") and decision.text.endswith("...")
    assert " and 24 more" in decision.why and decision.grounds.count("\n") == 16
    assert len(decision.grounds) < 16 * (NOTE_LIMIT + 20) + 600


def test_of_one_reporters_reasons_the_newest_counts_and_none_takes_none_away():
    tally = Tally(TERMS)
    voice = Voice("a", 1.0, 1.0)
    for at, reason in ((0, "first"), (30, "second"), (10, "late"), (40, "")):
        tally.hear(Report("black", KEY, reason), voice, NOW + at)
    assert tally.hear(Report("black", KEY, "other"), VOICES["b"], NOW + 50).text == "a: second; b: other"


def test_all_orders_of_the_classic_case_agree():
    said = [("a", "black", 0), ("b", "black", 30), ("c", "white", 60)]
    assert {holds(*order, at=90) for order in permutations(said)} == {"white"}
