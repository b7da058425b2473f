"""The rules by tables: their order, weights and threshold, what unknown can do, the words, and judging anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobkit import (
    CODE2,
    CODE9,
    DAY_S,
    MISSING,
    SILENT,
    TERMS,
    A,
    B,
    C,
    addr,
    cause,
    clear,
    listed,
    make_rules,
    named,
    remote,
    unknown,
)  # fmt: skip
from spamcannibal.jobs.labels import Kind, kind_of
from spamcannibal.jobs.recheck import Fate, Heard, address_of, needs_pointers, rejudge, zones_to_ask
from spamcannibal.jobs.rules import Answer, early, late, weights_of
from spamcannibal.jobs.wording import TEXT_LIMIT, entry_text, tidy
from spamcannibal.record import Cause, Contrib
from spamcannibal.remote.lists import Accept

IP = addr("1.2.3.4")
IP6 = addr("2001:db8:5::9")
LIST, PASS, UNSURE = Answer.LIST, Answer.PASS, Answer.UNSURE
GENERIC = "@ dyn"
ALL = make_rules(
    remote(A), remote(B), missing_ptr=True, block="1.2.3.0/24", generic=GENERIC, countries="XA XB",
    country_of=[("1.2.3.4", "XA"), ("2001:db8:5::9", "XC")],
)  # fmt: skip
UNBLOCKED = make_rules(
    remote(A), remote(B), missing_ptr=True, generic=GENERIC, countries="XA", country_of=[("1.2.3.4", "XA")]
)
ABROAD = make_rules(remote(A), remote(B), missing_ptr=True, generic=GENERIC, countries="XB")
ONLY_LISTS = make_rules(remote(A), remote(B))
DYN = named("dyn-1-2-3-4.example.net")


def judge(rules, address, pointers, verdicts):
    before = early(rules, address, pointers)
    return before if before.answer is LIST else late(rules, address, before, verdicts)


ORDER = {
    "block first": (ALL, MISSING, [listed(A)], LIST, "BlackList"),
    "then reverse DNS": (UNBLOCKED, MISSING, [listed(A)], LIST, "in-addr.arpa"),
    "then generic names": (UNBLOCKED, DYN, [listed(A)], LIST, "genericPTR"),
    "then the country": (UNBLOCKED, named("mail.example.net"), [listed(A)], LIST, "XA"),
    "the country though reverse DNS is silent": (UNBLOCKED, SILENT, [clear(A)], LIST, "XA"),
    "then the lists": (ABROAD, named("mail.example.net"), [listed(A)], LIST, A),
    "the lists though reverse DNS is silent": (ABROAD, SILENT, [listed(A)], LIST, A),
    "nothing": (ABROAD, named("mail.example.net"), [clear(A), clear(B)], PASS, None),
    "silent reverse DNS is no pass": (ABROAD, SILENT, [clear(A), clear(B)], UNSURE, None),
    "reverse DNS is not asked about": (ONLY_LISTS, None, [clear(A), clear(B)], PASS, None),
    "one good name saves": (ABROAD, named("dyn-1-2-3-4.example.net", "mx.example.net"), [clear(A)], PASS, None),
    "an answer of a list that is not in force": (ONLY_LISTS, None, [listed(C)], PASS, None),
}


@pytest.mark.parametrize(("rules", "pointers", "verdicts", "answer", "zone"), ORDER.values(), ids=ORDER)
def test_the_rules_decide_in_their_order(rules, pointers, verdicts, answer, zone):
    judgement = judge(rules, IP, pointers, verdicts)
    assert judgement.answer is answer
    assert (judgement.finding.zone if judgement.finding else None) == zone
    assert (judgement.note != "") == (answer is UNSURE)


@pytest.mark.parametrize(
    ("zone", "code", "days", "text"),
    [
        ("BlackList", 5, 30, "blocked, in my list"),
        ("in-addr.arpa", 4, 2, "no reverse DNS, get a name: https://example.net/?ip=1.2.3.4"),
        ("genericPTR", 7, 3, "generic PTR, get a name of your own"),
        ("XA", 6, 4, "XA rejected, not from there"),
    ],
)
def test_rules_of_ours_have_their_codes_words_and_times(zone, code, days, text):
    rules = ALL if zone == "BlackList" else UNBLOCKED
    pointers = {"in-addr.arpa": MISSING, "genericPTR": DYN}.get(zone, named("mail.example.net"))
    finding = judge(rules, IP, pointers, []).finding
    assert (finding.code, finding.expires_s, finding.text) == (bytes((127, 0, 0, code)), days * DAY_S, text)
    (only,) = finding.causes
    assert (only.zone, only.code, only.addr) == (zone, finding.code, IP)
    assert kind_of(zone).code == finding.code


def test_entries_of_our_own_rules_remember_what_they_saw():
    said = {zone: judge(rules, IP, pointers, []).finding.causes[0].text for zone, rules, pointers in (
        ("block", ALL, None), ("generic", UNBLOCKED, DYN), ("missing", UNBLOCKED, MISSING),
    )}  # fmt: skip
    assert said == {
        "block": "block:1", "generic": "dyn-1-2-3-4.example.net by generic:1: @ dyn", "missing": "NXDOMAIN",
    }  # fmt: skip


WEIGHTS = {
    "one list is enough": ({A: 1, B: 1}, 1, [listed(A), clear(B)], LIST),
    "an unknown one beside it changes nothing": ({A: 1, B: 1}, 1, [listed(A), unknown(B)], LIST),
    "an unknown one that could": ({A: 1, B: 1}, 1, [clear(A), unknown(B)], UNSURE),
    "not enough": ({A: 1, B: 1}, 2, [listed(A), clear(B)], PASS),
    "not enough, but it could be": ({A: 1, B: 1}, 2, [listed(A), unknown(B)], UNSURE),
    "unknown could never be enough": ({A: 1, B: 1}, 2, [clear(A), unknown(B)], PASS),
    "both together": ({A: 1, B: 1}, 2, [listed(A), listed(B)], LIST),
    "a heavy one": ({A: 2, B: 1}, 2, [listed(A, weight=2.0), clear(B)], LIST),
    "a white list takes away": ({A: 1, B: -1}, 1, [listed(A), listed(B, weight=-1.0)], PASS),
    "a white list that says nothing": ({A: 1, B: -1}, 1, [listed(A), clear(B)], LIST),
    "a silent white list could take away": ({A: 1, B: -1}, 1, [listed(A), unknown(B)], UNSURE),
    "a silent white list matters to nobody": ({A: 1, B: -1}, 1, [clear(A), unknown(B)], PASS),
    "set aside is unknown": ({A: 1, B: 1}, 1, [clear(A), unknown(B, "set aside: lists everything")], UNSURE),
}  # fmt: skip


@pytest.mark.parametrize(("weights", "threshold", "verdicts", "answer"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_and_threshold(weights, threshold, verdicts, answer):
    rules = make_rules(*(remote(zone, weight) for zone, weight in weights.items()), threshold=threshold)
    judgement = judge(rules, IP, None, verdicts)
    assert judgement.answer is answer
    if answer is LIST:
        assert {each.zone for each in judgement.finding.causes} == {v.zone for v in verdicts if v.weight > 0}


def test_an_unknown_list_may_have_any_weight_of_its_rules():
    rules = make_rules(remote(A, 0.5, accept=(Accept("127.0.0.2"), Accept("127.0.0.3", weight=3.0))), threshold=2)
    assert weights_of(rules.lists[A]) == [0.5, 3.0]
    assert weights_of(remote(B, 2.0, accept=(), any=True)) == [2.0]
    assert judge(rules, IP, None, [unknown(A)]).answer is UNSURE


def test_the_heaviest_cause_speaks_and_all_are_kept():
    rules = make_rules(
        remote(A, expires_s=5 * DAY_S),
        remote(B, 2.0, code="127.0.0.77", error="see https://b.example/?q=", expires_s=9 * DAY_S),
        remote(C),
        hits={C: 5},
    )
    said = [listed(A, "spam source", codes=(CODE9, CODE2)), listed(B, reason="bot", weight=2.0), listed(C)]
    finding = judge(rules, IP, None, said).finding
    assert [each.zone for each in finding.causes] == [B, C, A]
    assert finding.causes[2] == Cause(A, CODE9, IP, "spam source")
    assert (finding.code, finding.text) == (bytes((127, 0, 0, 77)), "bot, see https://b.example/?q=1.2.3.4")
    assert finding.expires_s == 5 * DAY_S


WORDS = {
    "a link is all": ("see http://x.example/1", "Blacklisted by: z", "see http://x.example/1"),
    "https is a link, too": ("https://x.example/lookup?1", "e", "https://x.example/lookup?1"),
    "and www": ("www.x.example says so", "e", "www.x.example says so"),
    "and an IPv6 link": ("http://[2001:db8::1]/", "e", "http://[2001:db8::1]/"),
    "no link": ("spam source", "Blacklisted by: z", "spam source, Blacklisted by: z"),
    "a scheme alone is no link": ("http:// nothing", "e", "http:// nothing, e"),
    "a word with www in it is no link": ("awww.y cute", "e", "awww.y cute, e"),
    "no reason": ("", "Blacklisted by: z", "Blacklisted by: z"),
    "no error": ("spam", "", "spam"),
    "a question gets the address": ("r", "see http://z.example/?", "r, see http://z.example/?1.2.3.4"),
    "a query gets the address": ("r", "see http://z.example/?a=1&ip=", "r, see http://z.example/?a=1&ip=1.2.3.4"),
    "a question inside gets none": ("r", "why? because", "r, why? because"),
    "one line": ("a\r\nb\tc\x00d", "e", "a b c d, e"),
    "escapes of terminals": ("\x1b[2Jx", "e", "[2Jx, e"),
}


@pytest.mark.parametrize(("reason", "error", "text"), WORDS.values(), ids=WORDS)
def test_the_text_of_an_entry(reason, error, text):
    assert entry_text(reason, error, IP) == text


@given(st.text(max_size=2000), st.text(max_size=300))
def test_whatever_strangers_write_is_one_printable_line(reason, error):
    text = entry_text(reason, error, IP6)
    assert len(text) <= TEXT_LIMIT
    assert text == "" or text.isprintable()
    assert tidy(text) == text


OLD = {
    "still listed": ([cause(A)], Heard(verdicts={A: listed(A, "again")}), Fate.REFRESH),
    "no longer": ([cause(A)], Heard(verdicts={A: clear(A)}), Fate.REMOVE),
    "no answer": ([cause(A)], Heard(verdicts={A: unknown(A)}), Fate.KEEP),
    "not asked": ([cause(A)], Heard(), Fate.KEEP),
    "the zone in other letters": ([cause("A.Example")], Heard(verdicts={A: clear(A)}), Fate.REMOVE),
    "a list that left the settings": ([cause("gone.example")], Heard(), Fate.KEEP),
    "one gone, one silent": ([cause(A), cause(B)], Heard(verdicts={A: clear(A), B: unknown(B)}), Fate.KEEP),
    "one gone, one retired": ([cause(A), cause("gone.example")], Heard(verdicts={A: clear(A)}), Fate.KEEP),
    "all gone": ([cause(A), cause(B)], Heard(verdicts={A: clear(A), B: clear(B)}), Fate.REMOVE),
    "one gone, one enough": ([cause(A), cause(B)], Heard(verdicts={A: clear(A), B: listed(B)}), Fate.REFRESH),
    "one silent, one enough": ([cause(A), cause(B)], Heard(verdicts={A: unknown(A), B: listed(B)}), Fate.REFRESH),
    "blocked still": ([cause("BlackList")], Heard(), Fate.REFRESH),
    "reverse DNS missing still": ([cause("in-addr.arpa")], Heard(MISSING), Fate.REFRESH),
    "reverse DNS there": ([cause("in-addr.arpa")], Heard(named("mx.example")), Fate.REMOVE),
    "reverse DNS silent": ([cause("in-addr.arpa")], Heard(SILENT), Fate.KEEP),
    "generic still": ([cause("genericPTR")], Heard(DYN), Fate.REFRESH),
    "generic by its old label": ([cause("ONLY_COUNT_ONE")], Heard(DYN), Fate.REFRESH),
    "a good name now": ([cause("genericPTR")], Heard(named("mx.example")), Fate.REMOVE),
    "no name is not generic": ([cause("genericPTR")], Heard(MISSING), Fate.REMOVE),
    "generic silent": ([cause("genericPTR")], Heard(SILENT), Fate.KEEP),
    "the country still": ([cause("XA")], Heard(), Fate.REFRESH),
    "another country": ([cause("XB")], Heard(), Fate.REMOVE),
    "no cause at all": ([], Heard(), Fate.KEEP),
    "of no zone": ([cause("")], Heard(), Fate.KEEP),
}


@pytest.mark.parametrize(("causes", "heard", "fate"), OLD.values(), ids=OLD)
def test_hearsay_judged_anew(causes, heard, fate):
    outlook = rejudge(ALL, IP, Contrib(CODE9, 0, tuple(causes)), heard)
    assert outlook.fate is fate
    assert (outlook.finding is not None) == (fate is Fate.REFRESH)


@pytest.mark.parametrize("zone", ["BlackList", "in-addr.arpa", "genericPTR", "XA", A])
def test_a_rule_that_left_the_settings_keeps_its_entries_to_their_end(zone):
    for heard in (Heard(), Heard(MISSING), Heard(named("mx.example")), Heard(SILENT)):
        assert rejudge(make_rules(), IP, Contrib(CODE9, 0, (cause(zone),)), heard).fate is Fate.KEEP


def test_a_rule_in_force_that_takes_it_no_more_removes():
    rules = make_rules(block="9.9.9.9", countries="XB", country_of=[("1.2.3.4", "XA")])
    assert rejudge(rules, IP, Contrib(CODE9, 0, (cause("BlackList"),)), Heard()).fate is Fate.REMOVE
    assert rejudge(rules, IP, Contrib(CODE9, 0, (cause("XA"),)), Heard()).fate is Fate.REMOVE
    assert rejudge(rules, addr("5.5.5.5"), Contrib(CODE9, 0, (cause("XA"),)), Heard()).fate is Fate.KEEP


def test_what_holds_must_still_reach_the_threshold_to_be_prolonged():
    rules = make_rules(remote(A), remote(B), threshold=2)
    contrib = Contrib(CODE9, 0, (cause(A), cause(B)))
    assert rejudge(rules, IP, contrib, Heard(verdicts={A: listed(A), B: listed(B)})).fate is Fate.REFRESH
    assert rejudge(rules, IP, contrib, Heard(verdicts={A: listed(A), B: clear(B)})).fate is Fate.KEEP
    assert rejudge(rules, IP, contrib, Heard(verdicts={A: listed(A), B: unknown(B)})).fate is Fate.KEEP


def test_who_is_asked_about_an_entry_and_whom():
    contrib = Contrib(CODE9, 0, (cause("B.example", "2001:db8:5::9"), cause("in-addr.arpa"), cause("gone.example")))
    assert zones_to_ask(ALL, IP, contrib) == (B,)
    assert zones_to_ask(make_rules(remote(B, families=("ip6",))), IP, contrib) == ()
    assert needs_pointers(ALL, contrib)
    assert not needs_pointers(ONLY_LISTS, contrib)
    assert address_of(addr("2001:db8:5::") + b"\x40", contrib) == IP6
    assert address_of(IP, Contrib(CODE9, 0, (cause(A),))) == IP
    assert address_of(addr("1.2.3.0") + b"\x18", Contrib(CODE9, 0, (cause(A),))) is None


@pytest.mark.parametrize(
    ("label", "kind"),
    [("BlackList", Kind.BLOCK), ("in-addr.arpa", Kind.MISSING_PTR), ("genericPTR", Kind.GENERIC_PTR),
     ("ONLY_COUNT_ONE", Kind.GENERIC_PTR), ("FR", Kind.COUNTRY), ("fr", Kind.REMOTE), ("ÄÖ", Kind.REMOTE),
     ("bl.example", Kind.REMOTE), ("", Kind.REMOTE)],
)  # fmt: skip
def test_labels_say_whose_word_it_is(label, kind):
    assert kind_of(label) is kind


def test_every_rule_of_ours_has_its_terms():
    assert set(TERMS) == set(Kind) - {Kind.REMOTE}
