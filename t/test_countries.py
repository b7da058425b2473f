"""The country database: its two forms, what a wrong line says, and Debian's own files where they are installed."""

from pathlib import Path

import pytest

from spamcannibal.addr import parse_addr
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.countries import parse_countries

V4 = """# converted
0,255,??
3221225984,3221226239,AA
3221226240,3221226240,BB

3325256704,3325256959,AA
"""
V6 = """2001:db8::,2001:db8:0:ffff:ffff:ffff:ffff:ffff,CC
2001:db8:1::1,2001:db8:1::2,BB
2001:db8:1::3,2001:db8:1::3,??
2001:db8:2::,2001:db8:2:ffff:ffff:ffff:ffff:ffff,CC
"""


def countries(v4=V4, v6=V6):
    return parse_countries(v4.splitlines(keepends=True), v6.splitlines(keepends=True), ("geoip", "geoip6"))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("0.0.0.9", None),
        ("192.0.1.255", None),
        ("192.0.2.0", "AA"),
        ("192.0.2.255", "AA"),
        ("192.0.3.0", "BB"),
        ("192.0.3.1", None),
        ("198.51.100.7", "AA"),
        ("255.255.255.255", None),
        ("::", None),
        ("2001:db8::7", "CC"),
        ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", "CC"),
        ("2001:db8:1::", None),
        ("2001:db8:1::1", "BB"),
        ("2001:db8:1::2", "BB"),
        ("2001:db8:1::3", None),
        ("2001:db8:2:8000::1", "CC"),
        ("2001:db8:3::", None),
    ],
)
def test_an_address_has_the_country_of_its_range(text, want):
    assert countries().find(parse_addr(text)) == want


@pytest.mark.parametrize(
    "line", ["1,2", "2,1,AA", "1,4294967296,AA", "1,2,aa", "a,b,AA", "1.0.0.0,1.0.0.1,AA", "-1,2,AA"]
)
def test_a_wrong_line_of_ipv4_is_named(line):
    with pytest.raises(ConfigError, match=r"geoip:2: not a range, got .*, want FIRST,LAST,CC as tor-geoipdb has it"):
        countries(v4=f"1,2,AA\n{line}\n")


@pytest.mark.parametrize(
    "line", ["::1", "::2,::1,AA", "::1::,::2,AA", "1:2,::2,AA", "::12345,::2,AA", "1,2,AA", "::1,::2,AAA"]
)
def test_a_wrong_line_of_ipv6_is_named(line):
    with pytest.raises(ConfigError, match=r"geoip6:1: not a range, got "):
        countries(v6=f"{line}\n")


DEBIAN = Path("/usr/share/tor/geoip"), Path("/usr/share/tor/geoip6")


@pytest.mark.skipif(not all(path.exists() for path in DEBIAN), reason="the package tor-geoipdb is not installed")
def test_debians_files_are_read_whole_and_kept_small():
    v4, v6 = (path.read_text("ascii").splitlines() for path in DEBIAN)
    found = parse_countries(v4, v6, ("geoip", "geoip6"))
    assert found.memory_bytes() <= 15 << 20
    asked = 0
    for line in [*v4[100::997], *v6[100::997]]:
        *ends, country = line.split(",")
        for end in ends:
            asked += 1
            addr = parse_addr(end) if ":" in end else int(end).to_bytes(4, "big")
            assert found.find(addr) == (None if country == "??" else country), line
    assert asked > 1000
