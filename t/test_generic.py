"""Generic PTR names: a table of names, the own address in every form, exceptions, and names made to take long."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.embedded import marked
from spamcannibal.jobs.generic import PROBLEMS_LIMIT, parse_patterns
from spamcannibal.jobs.regexes import compile_regex

SHIPPED = parse_patterns((Path(__file__).parent.parent / "conf" / "generic-ptr").read_text("utf-8"), "generic-ptr")
V4, V6 = parse_addr("192.0.2.7"), parse_addr("2001:db8:12::a7")

# Names of 192.0.2.7 unless they begin with the address and a blank.
GENERIC = """
192-0-2-7.example.net
192.0.2.7.example.net
192_0_2_7.example.net
192x0x2x7.example.net
192-0-2-7
ip-192-0-2-7.isp.example
ip192-0-2-7.isp.example
ip192.0.2.7.isp.example
host-192-0-2-7.isp.example
host192-0-2-7.isp.example
host7-2-0-192.isp.example
7-2-0-192.isp.example
7.2.0.192.isp.example
7.2.0.192.dyn.isp.example
7.2-0-192.adsl.isp.example
192-0-2.7.adsl.isp.example
7.192-0-2-7.isp.example
dsl-192-0-2-7.city.isp.example
dsl192-0-2-7.isp.example
adsl-192-0-2-7.dsl.town.isp.example
pool-192-0-2-7.area.east.isp.example
cpe-192-0-2-7.state.res.isp.example
c-192-0-2-7.hsd1.st.isp.example
cable-192-0-2-7.isp.example
customer-192-0-2-7.isp.example
cust-192-0-2-7.isp.example
client-192-0-2-7.isp.example
user-192-0-2-7.isp.example
dyn-192-0-2-7.isp.example
dynamic-192-0-2-7.isp.example
dhcp-192-0-2-7.isp.example
ppp-192-0-2-7.isp.example
dialup-192-0-2-7.isp.example
mobile-192-0-2-7.isp.example
lte-192-0-2-7.isp.example
vm-192-0-2-7.cloud.example
vps-192-0-2-7.hoster.example
ec2-192-0-2-7.compute.cloud.example
server-192-0-2-7.hoster.example
node-192-0-2-7.hoster.example
unallocated-192-0-2-7.hoster.example
192-000-002-007.isp.example
192.000.002.007.isp.example
192000002007.isp.example
ip192000002007.isp.example
007-002-000-192.isp.example
007002000192.isp.example
c0000207.isp.example
ipc0000207.isp.example
dslb-c0000207.pools.isp.example
c0-00-02-07.isp.example
c0.00.02.07.isp.example
070200c0.isp.example
host-070200c0.isp.example
3221225991.isp.example
h3221225991.isp.example
C0000207.ISP.EXAMPLE
DSL-192-0-2-7.Isp.Example
192-0-2-7.rev.hoster.example
192-0-2-7-dynamic.isp.example
192-0-2-7.adsl.example.mx
dsl-192-0-2-7.prod.isp.example.mx
abc192-0-2-7xyz.isp.example
pool-2-7.dyn.isp.example
dyn-2-7.isp.example
adsl-2-7.isp.example
dsl-7-2.isp.example
0-2-7.dsl.isp.example
dsl.0-2-7.isp.example
7.2.dsl.isp.example
2.7.cable.isp.example
host-2-7.isp.example
h2-7.user.isp.example
p2-7.dip.isp.example
c2-7.client.isp.example
002-007.dialin.isp.example
002007.dialin.isp.example
0-2-7.customer.isp.example
000207.ppp.isp.example
x2-7.ftth.isp.example
x2-7.broadband.isp.example
x2-7.wlan.isp.example
x2-7.residential.isp.example
x2-7.cgnat.isp.example
x2-7.abonent.isp.example
x2-7.kunden.isp.example
x2-7.clientes.isp.example
x2-7.vdsl2.isp.example
x2-7.cust12.isp.example
dyn7.isp.example
dynamic7.isp.example
dynamic-7.town.isp.example
7.dynamic.isp.example
pool7.isp.example
pool-007.isp.example
ppp7.isp.example
ppp7.town4.isp.example
dialup7.isp.example
7.dialup.isp.example
modem7.isp.example
dhcp7.isp.example
host7.dhcp.isp.example
user7.dyn.isp.example
line7.dinamica.isp.example
line7.dynamisch.isp.example
198-51-100-9.dynamic.isp.example
dyn-198-51-100-9.isp.example
198.51.100.9.dialup.isp.example
198_51_100_9.pool.isp.example
host-198-51-100-9.pppoe.isp.example
dyn123.isp.example
dyn-123.isp.example
dhcp0123.isp.example
dhcp-12ab.isp.example
dhcp-ab12cd.isp.example
dynamic-0a1b2c.isp.example
ppp-17.isp.example
ppp017.isp.example
pool-12.isp.example
pool.1234.isp.example
dialin-442.isp.example
modemcable123.isp.example.dyn-99.test
ip-pool-55.isp.example
adslpool44.isp.example
pppoe-1234.isp.example
isdn-23.isp.example
unassigned.isp.example
not-assigned.isp.example
unused7.isp.example
reverse.not-set.isp.example
not-configured.isp.example
no-reverse-dns.isp.example
noptr.isp.example
no-ptr.isp.example
undefined.isp.example
unknown.isp.example
localhost
localhost.localdomain
192.0.2.255 dsl-255-2.isp.example
192.0.2.0 192-0-2-0.isp.example
10.0.0.1 10-0-0-1.isp.example
10.11.12.13 ip-10-11-12-13.isp.example
203.0.113.77 77.113.0.203.isp.example
203.0.113.77 cb00714d.isp.example
203.0.113.77 4d7100cb.isp.example
203.0.113.77 113-77.adsl.isp.example
203.0.113.77 pool077.isp.example
2001:db8:12::a7 2001-db8-12--a7.isp.example
2001:db8:12::a7 2001-0db8-0012-0000-0000-0000-0000-00a7.isp.example
2001:db8:12::a7 2001-db8-12-0-0-0-0-a7.isp.example
2001:db8:12::a7 2001.db8.12.0.0.0.0.a7.isp.example
2001:db8:12::a7 2001x0db8x0012x0000x0000x0000x0000x00a7.isp.example
2001:db8:12::a7 20010db80012000000000000000000a7.isp.example
2001:db8:12::a7 7a00000000000000000021008bd01002.isp.example
2001:db8:12::a7 7.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.1.0.0.8.b.d.0.1.0.0.2.isp.example
2001:db8:12::a7 2.0.0.1.0.d.b.8.0.0.1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.a.7.isp.example
2001:db8:12::a7 dyn-2001-db8-12--a7.isp.example
2001:db8:12::a7 0000-0000-0000-00a7.dyn.isp.example
2001:db8:12::a7 00000000000000a7.cust.isp.example
2001:db8:12:34:5678:9abc:def0:1 5678-9abc-def0-1.dsl.isp.example
2001:db8:12:34:5678:9abc:def0:1 56789abcdef00001.ipv6.isp.example
"""

NOT_GENERIC = """
example.net
www.example.net
mail.example.net
mail7.example.net
mx.example.net
mx1.example.net
mx-7.example.net
smtp.example.net
smtp7.example.net
smtp-out-7.example.net
out7.mail.example.net
outbound-192-0-2-7.example.net
mail-192-0-2-7.example.net
mail192-0-2-7.example.net
192-0-2-7.mail.example.net
mta-192-0-2-7.example.net
mta192-0-2-7.esp.example
smtp-192-0-2-7.example.net
relay-192-0-2-7.example.net
mx-192-0-2-7.hoster.example
a192-0-2-7.smtp-out.cloud.example
mailout-2-7.dsl.isp.example
newsletter-192-0-2-7.esp.example
bounce7.dyn.example.net
static-192-0-2-7.isp.example
static.192-0-2-7.isp.example
192-0-2-7.static.isp.example
192-0-2-7-static.isp.example
192-0-2-7.staticip.isp.example
static192-0-2-7.isp.example
staticline2-7.adsl.isp.example.static.test
adslstatic-192-0-2-7.isp.example
ip-192-0-2-7.fixed.isp.example
fixed-192-0-2-7.isp.example
192-0-2-7.fix.isp.example
192-0-2-7.business.isp.example
192-0-2-7.biz.isp.example
c-192-0-2-7.corp.isp.example
192-0-2-7.dedicated.hoster.example
colo-192-0-2-7.hoster.example
leasedline-192-0-2-7.isp.example
host.example.net
host7.example.net
server7.example.net
node-7.example.net
vps7.hoster.example
vps-2-7.hoster.example
web2-7.example.net
rack2-7.example.net
db-2-7.example.org
gw.dsl.example.net
dsl.example.net
dsl2.example.com
cable.example.net
customer.example.net
cust-gw.example.net
dyn.example.net
dhcp.example.net
dhcp1.example.net
pool.example.net
pool-a.example.net
modem.example.net
ppp.example.net
gateway.example.net
7.example.net
192.example.net
192-0-2.example.net
1192-0-2-7.example.net
192-0-2-77.example.net
192-0-2-70.host.example.net
198-51-100-9.example.net
198-51-100-9.hoster.example
198-51-100-9.dsl.isp.example
198-51-100-9.cust.isp.example
ac0000207.example.net
c00002070.example.net
13221225991.example.net
32212259910.example.net
hotmail-example.test
pooling.example.net
dynasty12.example.net
dialog44.example.net
userland.example.net
knownhost.example.net
modemworld7.example.net
cabletown-7.example.net
localhosting.example.net
unusedcars.example.net
xn--dyn-123.example.net.mailer7.test
2001:db8:12::a7 mail.example.net
2001:db8:12::a7 mx-2001-db8-12--a7.example.net
2001:db8:12::a7 static-2001-db8-12--a7.example.net
2001:db8:12::a7 a7.example.net
2001:db8:12::a7 2001-db8-12--a70.example.net
2001:db8:12::a7 0000-0000-0000-00a7.example.net
2001:db8:12::a7 20010db80012000000000000000000a70.example.net
"""


def cases(text):
    for line in text.split("\n"):
        addr, _, name = line.rpartition(" ")
        if name:
            yield pytest.param(parse_addr(addr) if addr else V4, name, id=line.strip())


def test_the_tables_are_worth_their_name():
    assert len(list(cases(GENERIC))) + len(list(cases(NOT_GENERIC))) >= 200


@pytest.mark.parametrize(("addr", "name"), list(cases(GENERIC)))
def test_a_generic_name_is_told(addr, name):
    assert (SHIPPED.find(addr, [name]) or "").startswith("generic-ptr:")
    assert SHIPPED.find(addr, [f"{name}."]) == SHIPPED.find(addr, [name])


@pytest.mark.parametrize(("addr", "name"), list(cases(NOT_GENERIC)))
def test_any_other_name_is_not(addr, name):
    assert SHIPPED.find(addr, [name]) is None


def test_one_name_that_is_not_generic_saves_the_address_and_so_does_having_none():
    dynamic, plain, mail = "dyn-192-0-2-7.isp.example", "gw.example.org", "mail-192-0-2-7.example.org"
    assert SHIPPED.find(V4, [dynamic, "7.2.0.192.isp.example"]) == SHIPPED.find(V4, [dynamic])
    for names in (
        [],
        [""],
        [dynamic, plain],
        [plain, dynamic],
        [dynamic, mail],
        [dynamic, "a" * 300],
        ["@"],
        ["x-%-y.dsl.test"],
    ):
        assert SHIPPED.find(V4, names) is None


def forms(addr):
    """Every form that the own address may take, made apart from the code under test."""
    octets = list(addr)
    for order in (octets, octets[::-1]):
        for separator in "-._x":
            yield separator.join(map(str, order))
            yield separator.join(f"{octet:03}" for octet in order)
            yield separator.join(f"{octet:02x}" for octet in order)
        yield "".join(f"{octet:03}" for octet in order)
        yield "".join(f"{octet:02x}" for octet in order)


@given(
    st.binary(min_size=4, max_size=4), st.sampled_from(["", "ip", "host-", "p", "dsl.", "line_"]), st.integers(0, 99)
)
def test_an_ipv4_address_is_found_in_its_name_in_every_form(addr, head, which):
    every = list(forms(addr))
    form = every[which % len(every)]
    assert (
        marked(addr, f"{head}{form}.isp.test").replace("-", "").replace(".", "").replace("_", "").endswith("@isptest")
    )
    assert SHIPPED.find(addr, [f"{head}{form}.isp.test"])
    assert SHIPPED.find(addr, [f"{head}{form}.static.isp.test"]) is None
    assert SHIPPED.find(addr, [f"mail.{head}{form}.isp.test"]) is None


@given(st.binary(min_size=16, max_size=16).filter(lambda addr: addr[0] and addr[15] and addr[:12] != bytes(12)))
def test_an_ipv6_address_is_found_in_its_name_in_every_form(addr):
    nibbles = addr.hex()
    padded = [nibbles[i : i + 4] for i in range(0, 32, 4)]
    every = [nibbles, nibbles[::-1], ".".join(nibbles[::-1]), "-".join(padded), format_addr(addr).replace(":", "-")]
    for form in every:
        assert "-@-" in marked(addr, f"pre-{form}.isp.test")
    assert "-%-" in marked(addr, f"{nibbles[16:]}.isp.test")


@given(st.binary(min_size=4, max_size=4), st.text(alphabet="0123456789abcdefx.-_z", max_size=60))
def test_marking_changes_nothing_but_one_place(addr, name):
    got = marked(addr, name)
    for mark in "@%&":
        head, found, tail = got.partition(f"-{mark}-")
        if found:
            assert name.startswith(head) and name.endswith(tail)
            return
    assert got == name


HOSTILE = [
    "a" * 255, "1" * 255, "-" * 255, "." * 255, "1-" * 127, "1." * 127, "dsl" * 85, "dyn-" * 63, "static" * 42,
    "0x" * 127, "192-0-2-" * 31, "7-2-0-" * 42, "mail" * 63, "pool" * 63, "no-" * 85,
    "dhcp-" + "a" * 250, "dhcp-" + "f0" * 125,
    ("a" * 63 + ".") * 4, "smtp" * 60 + "1", "\u0130" * 200, "\x00" * 255, "(((" * 85, "-@-" * 85,
    "%&@" * 85,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.timeout(20)
def test_a_name_made_to_take_long_is_answered_all_the_same(name):
    for addr in (V4, V6):
        for cut in range(200, 256):
            SHIPPED.find(addr, [name[:cut]])


@given(st.text(max_size=300), st.sampled_from([V4, V6]))
def test_no_name_raises_anything(name, addr):
    SHIPPED.find(addr, [name])


def test_the_shipped_expressions_have_at_most_one_repeat_without_end():
    for rule in [*SHIPPED._rules, *SHIPPED._exceptions]:
        for expression in rule.expressions:
            assert sum(expression.pattern.count(sign) for sign in "*+") <= 1


def test_rules_are_words_all_needed_and_take_the_marks_of_the_address():
    patterns = parse_patterns("kind = dsl|cable\n@ {kind}[0-9]?  # both\n!gw[0-9]*\n~ol+d[.]\n!~never\nalone", "list")
    assert len(patterns) == 5
    found = {
        name: patterns.find(V4, [name])
        for name in (
            "dsl3.192-0-2-7.test", "192-0-2-7.cable.test", "192-0-2-7.test", "xdsl.192-0-2-7.test",
            "gw.dsl.192-0-2-7.test", "colllld.test", "colllld.never.test", "alone.test",
            "not-alone.test", "alonely.test", "gwx.alone.test",
        )
    }  # fmt: skip
    assert found == {
        "dsl3.192-0-2-7.test": "list:2: @ {kind}[0-9]?",
        "192-0-2-7.cable.test": "list:2: @ {kind}[0-9]?",
        "192-0-2-7.test": None,
        "xdsl.192-0-2-7.test": None,
        "gw.dsl.192-0-2-7.test": None,
        "colllld.test": "list:4: ~ol+d[.]",
        "colllld.never.test": None,
        "alone.test": "list:6: alone",
        "not-alone.test": "list:6: alone",
        "alonely.test": None,
        "gwx.alone.test": "list:6: alone",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a(b", "list:1: not a regular expression of Python: missing ), unterminated subpattern"),
        ("[[:alpha:]]", "list:1: not a regular expression of Python: Possible nested set"),
        ("~(?<n>a)", "list:1: not a regular expression of Python: unknown extension ?<n"),
        ("~", "list:1: nothing after ~, want a regular expression"),
        ("! ~", "list:1: nothing after ~, want a regular expression"),
        ("!", "list:1: nothing after !, want a pattern"),
        ("{dynamo}", "list:1: unknown word 'dynamo'"),
        ("dynamic = dyn\n{dynamo}", "list:2: unknown word 'dynamo', did you mean dynamic?"),
        ("@ %", "list:1: got % and @, want one of them"),
        ("w = " + "a" * 2000 + "\nv = {w}{w}{w}", "list:2: too long, got 6"),
        ("(?:a+)+", "list:1: + after a group that holds repeats or alternatives could take for ever"),
        ("~" + "x" * 5000, "list:1: too long, want at most 4000 characters"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_an_error_with_its_number(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_patterns(text, "list")
    assert caught.value.problems[0].startswith(message)


def test_a_file_that_is_something_else_stops_after_a_hundred_errors():
    with pytest.raises(ConfigError) as caught:
        parse_patterns("((\n" * 10_000, "list")
    assert len(caught.value.problems) == PROBLEMS_LIMIT + 1


@pytest.mark.parametrize(
    "text",
    [
        r"\d+-\d+-\d+-\d+\.dsl\.", r"(?:ab)+", r"(?:ab|cd)?x", r"[0-9]{1,3}(?:[-.][0-9]{1,3}){3}", r"a{2}b{3,}",
        r"^dsl.*\.example\.net$", r"[]a]+", r"[^]a]+", r"\(+", r"\[+", r"(?i)x+", r"(?:x+)", r"(?:a|b){1,8}", r"x{",
        r"a{,5}", r"(?=a+)b", r"(?<!\d)7", r"(?P<n>a)+",
    ],
)  # fmt: skip
def test_an_expression_of_bounded_time_is_taken(text):
    assert compile_regex(text).pattern == text


@pytest.mark.parametrize(
    "text",
    [
        r"(a+)+b", r"(a*)*b", r"(?:a|a)*b", r"(a|ab)+", r"(?:a+b?)+", r"((a{1,9}){1,9}){1,9}", r"(?:(?:a?)*)x",
        r"(x+x+)+y", r"(?:a+){2,}", r"(?:a+){9}", r"(?:a{1,5}){1,40}", r".*.*.*x", r"[^a]*[^b]*[^c]*", r"\S+\S+\S+",
        r"a+b+c+d+e+f+g+", r"(?:a?){40}", r"(?:a|b){1,30}", r"(?:a+)*+", r"(?P<n>a+)+", r"(?:(?=a+)b)+", r"(?s:.+)+",
        r"a+(", "a" * 5000,
    ],
)  # fmt: skip
def test_an_expression_that_could_take_for_ever_is_not(text):
    with pytest.raises(ValueError, match=r"for ever|too many|too long|not a regular"):
        compile_regex(text)


@given(st.text(alphabet="ab().*+?{}[]|\\1,^$-:=!<P", max_size=30))
def test_no_expression_raises_anything_else(text):
    with contextlib.suppress(ValueError):
        compile_regex(text)
