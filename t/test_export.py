"""Exports: what each consumer would find in a file is what the list says, whatever lies inside what."""

import csv
import io
import json
import re
from itertools import chain, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsbl_peers import SPEC
from export_peers import CODES, FACTS, HEARD, KEYS4, KEYS6, LISTS, corners, entries, verdict
from spamcannibal.addr import covers, format_key, parse_addr, parse_key, reversed_name
from spamcannibal.dnsbl.export import sets, tabular
from spamcannibal.dnsbl.export.delta import IpsetDelta, NftDelta
from spamcannibal.dnsbl.export.drift import Drift, compare
from spamcannibal.dnsbl.export.entry import EXCEPTION, everything, ordered, published, refused
from spamcannibal.dnsbl.export.facts import with_test_point
from spamcannibal.dnsbl.export.formats import FORMATS
from spamcannibal.dnsbl.export.text import domain, quoted
from spamcannibal.dnsbl.export.tree import carved, children_first, needed, pieces
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED, SHADOW, Mode, table_value

TEXTS = st.text(max_size=300)
NASTY = 'a "b" \\ $ $1 \n1.2.3.4 \r\x00\x85\u2028 ; # : \u00e9 ,=1+1'


def written(name, listed, texts=None, facts=FACTS):
    return "".join(FORMATS[name].write(*entries(listed, texts), facts))


def items(name, listed, texts=None):
    return list(FORMATS[name].read(io.StringIO(written(name, listed, texts), newline="")))


# Entries.


@pytest.mark.parametrize(
    ("flags", "mode", "shown", "blocked", "all_"),
    [
        (PUBLISHED, Mode.DEFAULT, PROVEN_CODE, HEARD, HEARD),
        (0, Mode.DEFAULT, None, HEARD, HEARD),
        (EXCLUDED, Mode.DEFAULT, EXCEPTION, EXCEPTION, EXCEPTION),
        (PUBLISHED | SHADOW, Mode.DEFAULT, None, None, HEARD),
        (PUBLISHED, Mode.OBSERVE, PROVEN_CODE, EXCEPTION, HEARD),
    ],
)
def test_a_selection_says_what_an_entry_is(flags, mode, shown, blocked, all_):
    value = table_value(HEARD, mode, flags)
    assert (published(False)(value), refused(value), everything(value)) == (shown, blocked, all_)
    assert published(True)(value) == (shown if flags else HEARD)


@given(st.sets(st.one_of(KEYS4, KEYS6)))
@settings(deadline=None)
def test_entries_come_by_address_and_the_widest_first(texts):
    for side in entries(dict.fromkeys(texts, PROVEN_CODE)):
        places = [(entry.addr, entry.plen) for entry in side]
        assert places == sorted(set(places))
    assert sum(map(len, entries(dict.fromkeys(texts, PROVEN_CODE)))) == len({parse_key(text) for text in texts})


def test_order_holds_one_address_at_a_time():
    taken = []

    def rows():
        for number in range(5):
            taken.append(number)
            yield bytes((10, 0, 0, number)), b""

    first = next(ordered(rows()))
    assert first[0] == bytes((10, 0, 0, 0))
    assert taken == [0, 1]


# Trees.


@given(LISTS)
@settings(deadline=None)
def test_first_match_over_children_first_is_the_longest_match(listed):
    for side in entries(listed):
        lines = list(children_first(needed(side)))
        for addr in corners(side):
            number = int.from_bytes(addr, "big")
            first = next((line.code for line in lines if line.addr <= number < line.end), EXCEPTION)
            assert first == verdict(side, addr)


@given(LISTS)
@settings(deadline=None)
def test_the_last_line_of_a_host_list_is_never_negative(listed):
    for side in entries(listed):
        lines = list(children_first(needed(side)))
        assert not lines or lines[-1].is_listed


@given(LISTS)
@settings(deadline=None)
def test_carved_networks_are_apart_and_say_the_same(listed):
    for side in entries(listed):
        flat = list(carved(side))
        by_place = sorted(flat, key=lambda entry: entry.addr)
        assert all(one.end <= other.addr for one, other in pairwise(by_place))
        for addr in corners([*side, *flat]):
            assert verdict(flat, addr) == verdict(side, addr)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(deadline=None)
def test_pieces_are_whole_and_fewest(start, size):
    found = list(pieces(32, start, start + size))
    at = start
    for addr, plen in found:
        assert addr == at
        assert addr % (1 << 32 - plen) == 0
        at += 1 << 32 - plen
    assert at == start + size
    assert len(found) <= 2 * max(size.bit_length(), 1)


def test_the_whole_address_space_is_one_piece():
    assert list(pieces(32, 0, 1 << 32)) == [(0, 0)]
    assert list(pieces(128, 0, 1 << 128)) == [(0, 0)]


def octet_class(plen):
    return (plen + 7) // 8


@given(LISTS)
@settings(max_examples=150, deadline=None)
def test_ip4set_lists_no_address_twice_and_the_last_array_that_matches_is_right(listed):
    side, _ = entries(listed)
    lines = [
        (name, value) for name, value in items("ip4set", {k: v for k, v in listed.items() if ":" not in k}) if name
    ]
    made = [
        (parse_key(name), EXCEPTION if value == "!" else bytes(map(int, value.split(":")[1].split("."))))
        for name, value in lines
    ]
    for addr in corners(side):
        hits = [(octet_class(key[-1] if len(key) == 5 else 32), code) for key, code in made if covers(key, addr)]
        last = [code for depth, code in hits if depth == max(hits)[0]]
        assert len(last) <= 1
        assert (last or [EXCEPTION])[0] == verdict(list(with_test_point(side, FACTS)), addr)


# A plain zone: RFC 4592 over the names of the file.


def zone_names(records):
    """Every name that exists: the owners, and all above them."""
    return {".".join(labels[at:]) for labels in (key.split(".") for key in records) for at in range(len(labels))}


def zone_answer(records, exists, name):
    """The A record that a server gives for a name, else the closest encloser's wildcard; "" for none."""
    labels = name.split(".")
    if name in exists:
        return records.get(name, {}).get("A", "")
    for at in range(1, len(labels) + 1):
        encloser = ".".join(labels[at:])
        if encloser in exists or not encloser:
            return records.get(f"*.{encloser}", {}).get("A", "")
    raise AssertionError(name)


def zone_records(listed):
    records = {}
    for item, data in items("bind", listed):
        owner, _, rtype = item.partition(" ")
        if owner != "@":
            records.setdefault(owner, {})[rtype] = data
    return records


@given(LISTS)
@example({"2.0.0.0/8": PROVEN_CODE, "2001:db8::/32": PROVEN_CODE, "2001:db8::1": EXCEPTION})
@example({"10.0.0.0/8": PROVEN_CODE, "10.77.200.4": HEARD, "10.77.0.0/17": EXCEPTION})
@settings(max_examples=40, deadline=None)
def test_a_zone_file_answers_each_address_by_the_longest_prefix(listed):
    records = zone_records(listed)
    exists = zone_names(records)
    everyone = list(chain(*entries(listed)))
    probes = corners(everyone) | {parse_addr("2001:db8::9"), parse_addr("2.0.0.9"), parse_addr("127.0.0.1")}
    for addr in probes:
        code = verdict(everyone, addr)
        assert zone_answer(records, exists, reversed_name(addr)) == ".".join(map(str, code)), format_key(addr)


def test_a_zone_has_its_test_points_and_its_own_records():
    text = written("bind", {})
    assert "\n2.0.0.127 A 127.0.0.2\n" in text
    assert f"\n{'.'.join('2000' + '00f7' + 'ffff' + '0' * 20)} A 127.0.0.2\n" in text
    for line in (
        "$ORIGIN bl.example.org.\n",
        "@ 300 SOA ns1.bl.example.org. post\\.master.example.org. 7 900 300 604800 60\n",
        "@ 300 NS ns.elsewhere.example.\n",
        "@ 300 MX 10 mx.elsewhere.example.\n",
        "ns1 300 AAAA 2001:db8::53\n",
    ):
        assert line in text


@given(st.binary(max_size=600))
@settings(deadline=None)
def test_quoted_text_is_strings_of_at_most_255_bytes_that_read_back(data):
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', quoted(data))
    raw = [
        re.sub(rb"\\(\d{3}|.)", lambda m: bytes((int(m[1]),)) if m[1].isdigit() else m[1], s.encode()) for s in strings
    ]
    assert b"".join(raw) == data
    assert all(len(one) <= 255 for one in raw)
    assert quoted(data).isprintable()


def test_names_are_escaped():
    assert domain((b"post.master", b"Ex ample", b"org")) == "post\\.master.Ex\\032ample.org."


# Everything that was written reads back.


@given(LISTS)
@settings(deadline=None)
def test_lists_read_back_as_they_were(listed):
    want = {format_key(parse_key(text)): code for text, code in listed.items()}
    got = {name: "!" if code == EXCEPTION else "" for name, code in want.items()}
    assert dict(items("plain", listed)) == got
    rows = {key: json.loads(line) for key, line in items("jsonl", listed)}
    assert {key: row["code"] for key, row in rows.items()} == {k: ".".join(map(str, v)) for k, v in want.items()}
    assert {key: row["exception"] for key, row in rows.items()} == {k: v == EXCEPTION for k, v in want.items()}
    assert [key for key, _ in items("csv", listed)] == [key for key, _ in items("plain", listed)]


@given(LISTS, TEXTS)
@example({"10.0.0.1": PROVEN_CODE}, NASTY)
@settings(deadline=None)
def test_tables_keep_any_text(listed, text):
    texts = dict.fromkeys(listed, text)
    for row in csv.DictReader(io.StringIO(written("csv", listed, texts), newline="")):
        assert row["text"] == text
    for _, line in items("jsonl", listed, texts):
        assert json.loads(line)["text"] == text


@given(TEXTS)
@example(NASTY)
@example("$1$$2")
@pytest.mark.parametrize("name", ["ip4set", "ip4trie", "combined", "bind", "postfix"])
@settings(deadline=None)
def test_no_text_leaves_its_line(name, text):
    listed = {"192.0.2.0/24": PROVEN_CODE, "192.0.2.1": HEARD}
    with_text = written(name, listed, dict.fromkeys(listed, text))
    without = written(name, listed)
    assert with_text.count("\n") == without.count("\n")
    heads = [[line.split(" ")[0] for line in lines.split("\n")] for lines in (with_text, without)]
    assert heads[0] == heads[1]
    assert all(char.isprintable() for char in with_text.replace("\n", ""))


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_list_gives_the_same_bytes(name):
    listed = {"10.77.0.0/16": PROVEN_CODE, "10.77.200.4": EXCEPTION, "2001:db8::/47": HEARD}
    assert written(name, listed) == written(name, dict(reversed(listed.items())))
    assert items(name, listed)


@pytest.mark.parametrize("name", FORMATS)
@given(LISTS)
@settings(max_examples=15, deadline=None)
def test_no_item_is_there_twice(name, listed):
    names = [item for item, _ in items(name, listed)]
    assert len(names) == len(set(names))


def test_rbldnsd_gets_what_differs_from_the_default():
    listed = {"192.0.2.0/24": PROVEN_CODE, "192.0.2.1": HEARD, "192.0.2.2": PROVEN_CODE, "192.0.2.3": EXCEPTION}
    lines = written("ip4trie", listed, {"192.0.2.2": "see $1 \n or $$2"}).splitlines()
    assert [line for line in lines[3:] if line != "127.0.0.2"] == [
        ":127.0.0.2:$ is listed",
        "192.0.2.0/24",
        "192.0.2.1 :127.0.0.5:$ is listed",
        "192.0.2.2 :127.0.0.2:see $ 1 or $$2",
        "!192.0.2.3",
    ]
    assert all(
        len(line.encode()) < 255 + 40
        for line in written("ip4set", {"192.0.2.9": PROVEN_CODE}, {"192.0.2.9": "\u00e9" * 200}).splitlines()
    )


def test_policy_names_are_those_of_rpz():
    listed = {
        "192.0.2.0/24": PROVEN_CODE,
        "192.0.2.1": EXCEPTION,
        "2001:db8::/32": PROVEN_CODE,
        "2001:db8:0:1::2": EXCEPTION,
        "198.51.100.1": EXCEPTION,
    }
    assert written("rpz", listed).splitlines()[3:] == [
        "24.0.2.0.192.rpz-ip CNAME .",
        "32.1.2.0.192.rpz-ip CNAME rpz-passthru.",
        "32.zz.db8.2001.rpz-ip CNAME .",
        "128.2.zz.1.0.db8.2001.rpz-ip CNAME rpz-passthru.",
    ]
    assert "rpz-client-ip CNAME ." in written("rpz-client", listed)


def test_mail_servers_get_their_own_words():
    listed = {"192.0.2.0/24": PROVEN_CODE, "192.0.2.1": EXCEPTION}
    assert written("postfix", listed) == "192.0.2.1/32 DUNNO\n192.0.2.0/24 REJECT 5.7.1 192.0.2.0/24 is listed\n"
    assert written("postscreen", listed) == "192.0.2.1/32 dunno\n192.0.2.0/24 reject\n"
    assert written("exim", listed) == "!192.0.2.1\n192.0.2.0/24\n"
    assert written("rspamd", {"192.0.2.0/30": PROVEN_CODE, "192.0.2.1": EXCEPTION, "2001:db8::1": PROVEN_CODE}) == (
        "192.0.2.0\n192.0.2.2/31\n2001:db8::1\n"
    )
    assert written("postfix", listed, {"192.0.2.0/24": "\u00e9\n$"}).endswith(" 5.7.1 ? 192.0.2.0/24\n")


# Sets, whole and by deltas.


class NftSets:
    """What `nft -f` does with our scripts: a transaction, in which deleting what is absent fails."""

    def __init__(self):
        self.sets = {}

    def apply(self, script):
        for line in script.splitlines():
            words = line.split(maxsplit=5)
            if words[:2] == ["flush", "set"]:
                self.sets[words[4]] = set()
            elif words[1] == "element":
                names = set(words[5].strip("{ }").split(", "))
                if words[0] == "add":
                    self.sets[words[4]] |= names
                else:
                    assert names <= self.sets[words[4]], line
                    self.sets[words[4]] -= names
        for name in ("nets4", "nets6"):
            keys = sorted(map(parse_key, self.sets[name]))
            assert not any(one != other and covers(one, other) for one in keys for other in keys), "overlap"


class IpsetSets:
    """What `ipset restore -exist` does with our scripts."""

    def __init__(self):
        self.sets = {}

    def apply(self, script):
        for line in script.splitlines():
            verb, name, *rest = line.split()
            if verb == "create":
                self.sets.setdefault(rest[0], {})
            elif verb == "flush":
                self.sets[name] = {}
            elif verb == "add":
                self.sets[name][rest[0]] = rest[1:]
            elif verb == "del":
                self.sets[name].pop(rest[0], None)
            elif verb == "swap":
                self.sets[name], self.sets[rest[0]] = self.sets[rest[0]], self.sets[name]
            elif verb == "destroy":
                del self.sets[name]


CHANGES = st.lists(st.dictionaries(st.one_of(KEYS4, KEYS6), st.one_of(CODES, st.none()), max_size=5), max_size=4)


@pytest.mark.parametrize(
    ("name", "new_delta", "new_model"), [("nft", NftDelta, NftSets), ("ipset", IpsetDelta, IpsetSets)]
)
@given(LISTS, CHANGES)
@settings(max_examples=100, deadline=None)
def test_deltas_lead_to_what_a_full_export_gives(name, new_delta, new_model, listed, steps):
    listed = {format_key(parse_key(text)): code for text, code in listed.items()}
    delta, model = new_delta(), new_model()
    model.apply("".join(FORMATS[name].write(*delta.watched(*entries(listed)), FACTS)))
    for drawn in steps:
        step = {format_key(parse_key(text)): code for text, code in drawn.items()}
        listed = {text: code for text, code in {**listed, **step}.items() if code is not None}
        model.apply(delta.script({parse_key(text): code for text, code in step.items()}, FACTS))
        fresh = new_model()
        fresh.apply(written(name, listed))
        assert model.sets == fresh.sets


@given(LISTS)
@settings(max_examples=100, deadline=None)
def test_nft_sets_hold_what_is_listed_and_nothing_else(listed):
    model = NftSets()
    model.apply(written("nft", listed))
    keys = [parse_key(text) for elements in model.sets.values() for text in elements]
    for side in entries(listed):
        for addr in corners(side):
            assert any(covers(key, addr) for key in keys) == (verdict(side, addr) != EXCEPTION)


def test_a_host_costs_one_element_whatever_else_is_listed():
    delta = NftDelta()
    list(FORMATS["nft"].write(*delta.watched(*entries({"10.0.0.0/8": PROVEN_CODE, "10.77.200.4": EXCEPTION})), FACTS))
    script = delta.script({parse_key("10.1.1.1"): PROVEN_CODE}, FACTS)
    assert script == "add element inet spamcannibal_list hosts4 { 10.1.1.1 }\n"


def test_ipset_has_no_zero_length():
    assert "0.0.0.0/1" in written("ipset", {"0.0.0.0/0": PROVEN_CODE})
    assert "128.0.0.0/1" in written("ipset", {"0.0.0.0/0": PROVEN_CODE})
    assert "/0" not in written("ipset", {"0.0.0.0/0": PROVEN_CODE, "::/0": EXCEPTION})


def test_what_nft_prints_reads_as_what_it_was_given():
    shown = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "hosts4", "elem": ["192.0.2.1", {"elem": {"val": "192.0.2.2", "timeout": 5}}]}},
            {
                "set": {
                    "name": "nets4",
                    "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["192.0.2.0", "192.0.2.2"]}],
                }
            },
            {"set": {"name": "nets6"}},
        ]
    }
    assert [name for name, _ in sets.read_nft_json(json.dumps(shown))] == [
        "hosts4 192.0.2.1", "hosts4 192.0.2.2", "nets4 10.0.0.0/8", "nets4 192.0.2.0/31", "nets4 192.0.2.2",
    ]  # fmt: skip


# Drift.


@given(
    st.dictionaries(st.text("abc", max_size=3), st.text("xy", max_size=1)),
    st.dictionaries(st.text("abc", max_size=3), st.text("xy", max_size=1)),
    st.integers(1, 3_000_000),
)
@settings(deadline=None)
def test_drift_counts_every_difference_once_in_any_number_of_parts(want, have, size):
    found = compare(want.items, have.items, size)
    assert found.counts() == {
        "expected": len(want),
        "held": len(have),
        "missing": len(want.keys() - have.keys()),
        "surplus": len(have.keys() - want.keys()),
        "differs": sum(have[name] != want[name] for name in want.keys() & have.keys()),
    }
    assert bool(found) == (want != have)
    assert len(found.shown) == found.missing + found.surplus + found.differs


def test_drift_shows_some_and_counts_all():
    found = compare(lambda: [(str(n), "") for n in range(500)], list, 500, limit=10)
    assert (found.missing, len(found.shown)) == (500, 10)
    assert not Drift()


def test_what_a_consumer_holds_twice_is_surplus():
    assert compare(lambda: [("a", "")], lambda: [("a", ""), ("a", "")], 1).surplus == 1


def test_tables_name_their_columns():
    assert written("csv", {}).rstrip() == ",".join(tabular.COLUMNS)
    assert SPEC.text in written("ip4set", {})
