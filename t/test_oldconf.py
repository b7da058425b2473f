"""The original's settings: its Perl data read strictly, and what is made of it is accepted by what reads it here."""

import contextlib
import json
import re
import shutil
import subprocess
import tomllib

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal import config
from spamcannibal.commands.main import cli
from spamcannibal.errors import ConfigError, WireError
from spamcannibal.guard import parse_never_list
from spamcannibal.jobs.generic import parse_patterns
from spamcannibal.jobs.nets import parse_nets
from spamcannibal.oldconf.convert import convert
from spamcannibal.oldconf.perl import DEPTH_LIMIT, NODES_LIMIT, TEXT_LIMIT, parse
from spamcannibal.oldconf.reader import Imported, seconds
from spamcannibal.oldconf.render import BLOCK, GENERIC, LISTS, NEVER, SETTINGS, render
from spamcannibal.remote.lists import decode_lists

BLACKLIST = r"""#!/usr/bin/perl
# sample in the form of the original's
package config;
use strict;

=head1 NAME

not { data [ at all

=cut

my $home = '/usr/local/spamcannibal';
my $CONFIG = {
  'STATS'   => "$home/stats/bl.txt",	# where hits go
  MDsyslog  => LOG_WARNING,
  MDport    => 9_953,

  IGNORE => [
	'127.0.0.0/8', '10.0.0.0/255.0.0.0',
	# a range
	'192.0.2.5 - 192.0.2.10', 'mail.example.org', '2001:db8::/32',
  ],
  BLOCK => [ qw( 203.0.113.0/24 198.51.100.20/28 ), '300.1.1.1', ],
  BBC	=> [qw( XA xb nowhere )],
  REJECT => 'see http://bl.example.org/?page=lookup&lookup=',
  GENERIC => {
	ignore	=> [ 'mail', 'smtp\d+\.example\.com$' ],
	regexp	=> [
		'\d+[a-zA-Z_\-\.]\d+[a-zA-Z_\-\.]\d+[a-zA-Z_\-\.]\d+',
		"dyn\\.example\\.net",
		'(?<tail>x)', '(a+)+$', 'a#b\#\\\\#\z',
	],
	message	=> 'unacceptable PTR in your /24, see #',
	error	=> 'generic PTR, see https://bl.example.org/g',
	timeout	=> 10,
	expire	=> '1w 3d',
	blockcontact => 1,
  },
  'dnsbl.sorbs.net' => { accept => { '127.0.0.10' => 'DUL' }, },
  'zen.example.org' => {
	confirm	=> 'http://www.example.org/lookup',
	accept	=> {
		'127.0.0.2'	=> 'SBL',
		'127.0.0.4'	=> "XBL \x{e9}t\xe9",
		'127.255.255.254' => 'open resolver',
		'1.2.3.4'	=> 'parked',
	},
	response => '127.0.0.3',
	error	=> 'Rejected - see http://www.example.org/query?bl=',
	expire	=> '7d',
	timeout	=> 30,
  },
  'any.example.org' => { acceptany => 'listed by any', response => '127.0.0.9', expire => 60*60*24*400, },
  'none.example.org' => { error => 'no accept', },
  'in-addr.arpa' => { error => 'no reverse DNS', timeout => 15, expire => '2d', },
};
$CONFIG;
__END__
anything { at all
"""

DNSBLS = """my %config = (
  zonename => 'bl.Example.org',
  contact  => 'postmaster.example.org',
  refresh  => '12h', retry => 3600, expire => '1d', minimum => 10800, neg_cache => 0,
  ns  => { 'ns1.bl.example.org' => '192.0.2.53', 'ns.example.net' => '198.51.100.53' },
  host => { 'bl.example.org' => [ '192.0.2.1', '2001:db8::1' ] },
  mx  => { 'mx.example.org' => 10, },
  block => 1, port => 53,
  '127.0.0.2' => 'test',
);
"""

MAILFILTER = """$x = {
  BLCONFIG => 'sc_BlackList.conf',
  MXhosts  => [ 'mx1.example.org', 'mx2.example.org.', '192.0.2.25', '192.0.2.64/29' ],
  NOPRIVATE => 1, MAXMSG => 100,
  PGP => { KeyPath => '/home/spam/.gnupg', Password => 'secret \\' word' },
};
1;
"""


def plain(node):
    """The value of a node without its lines."""
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    return node.value


def made(*texts, known=None):
    imported = Imported()
    for i, text in enumerate(texts):
        convert(parse(text, f"f{i}").value, f"f{i}", known or {}, imported)
    return imported


def read_back(files, directory):
    """Read every file that was made with what reads it here; nothing may be wrong with any."""
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    (directory / "spamcannibal.toml").write_text("")
    reading = config.read(directory / "spamcannibal.toml")
    assert reading.problems == ()
    problems = []
    lists = decode_lists(files.get(LISTS, ""), LISTS, problems)
    assert problems == []
    parse_never_list(files.get(NEVER, ""), [], NEVER)
    parse_nets(files.get(BLOCK, ""), BLOCK)
    parse_patterns(files.get(GENERIC, ""), GENERIC)
    return reading.settings, {one.zone: one for one in lists}


def test_what_the_originals_files_say_is_what_ours_say(tmp_path):
    imported = made(BLACKLIST, DNSBLS, MAILFILTER, known={"dnsbl.sorbs.net": "dead, since June 2024"})
    got, lists = read_back(render(imported, ["sc_BlackList.conf"]), tmp_path)
    assert imported.never == [
        "127.0.0.0/8", "10.0.0.0/8", "192.0.2.5", "192.0.2.6/31", "192.0.2.8/31", "192.0.2.10", "2001:db8::/32",
        "192.0.2.25", "192.0.2.64/29",
    ]  # fmt: skip
    assert imported.block == ["203.0.113.0/24", "198.51.100.20/28"]
    assert imported.generic == [
        "!~mail", r"!~smtp\d+\.example\.com$", r"~\d+[a-zA-Z_\-\.]\d+[a-zA-Z_\-\.]\d+[a-zA-Z_\-\.]\d+",
        r"~dyn\.example\.net", r"~a\x23b\x23\\\x23\Z",
    ]  # fmt: skip
    jobs = got.jobs
    assert (jobs.countries, jobs.block_text) == (("XA", "XB"), "see http://bl.example.org/?page=lookup&lookup=")
    assert jobs.country_text == jobs.block_text
    assert (jobs.block_list, jobs.generic_ptr) == (f"{tmp_path}/{BLOCK}", f"{tmp_path}/{GENERIC}")
    assert (jobs.generic_text, jobs.generic_expires_s) == ("generic PTR, see https://bl.example.org/g", 10 * 86400)
    assert (jobs.missing_ptr, jobs.missing_ptr_text, jobs.missing_ptr_expires_s) == (True, "no reverse DNS", 2 * 86400)
    assert got.remote.lists == ("zen.example.org", "any.example.org") == tuple(lists)
    zen, anything = lists.values()
    assert [(rule.codes, rule.reason) for rule in zen.accept] == [("127.0.0.2", "SBL"), ("127.0.0.4", "XBL ?t?")]
    assert (zen.code, zen.expires_s, zen.timeout_s) == ("127.0.0.3", 7 * 86400, 30)
    assert zen.error == "Rejected - see http://www.example.org/query?bl="
    assert anything.any and (anything.code, anything.expires_s) == ("127.0.0.9", 604_800)
    (zone,) = got.dnsbl.zone
    assert (zone.name, zone.contact, zone.mx) == ("bl.example.org", "postmaster@example.org", ("10 mx.example.org",))
    assert (zone.refresh_s, zone.retry_s, zone.expire_s) == (43_200, 3600, 86_400)
    assert (zone.minimum_s, zone.ttl_s, zone.soa_ttl_s) == (10_800, 10_800, 300)
    assert (zone.ns, zone.hosts) == (("ns1.bl.example.org", "ns.example.net"), ("ns1.bl.example.org 192.0.2.53",))
    assert zone.addresses == ("192.0.2.1", "2001:db8::1")
    assert got.dnsbl.listen == ("0.0.0.0:53", "[::]:53")
    assert got.guard.own_names == ("mx1.example.org", "mx2.example.org")
    assert got.robot.own_hosts == ("mx1.example.org", "mx2.example.org", "192.0.2.25", "192.0.2.64/29")
    assert got.robot.skip_private is False


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (BLACKLIST, "f0:14: STATS: hits are counted in the database"),
        (BLACKLIST, "f0:15: MDsyslog: belongs to multi_dnsbl"),
        (BLACKLIST, "f0:21: IGNORE: not an address: got 'mail.example.org'"),
        (BLACKLIST, "f0:23: BLOCK: not an address: got '300.1.1.1'"),
        (BLACKLIST, "f0:24: BBC: got 'nowhere', want two letters"),
        (BLACKLIST, "f0:31: GENERIC.regexp: not a regular expression of Python: unknown extension ?<t"),
        (BLACKLIST, "f0:31: GENERIC.regexp: + after a group that holds repeats or alternatives could take for ever"),
        (BLACKLIST, "f0:33: GENERIC.message: neighbours in the /24 are never listed"),
        (BLACKLIST, "f0:39: dnsbl.sorbs.net: lists.d has it already (dead, since June 2024)"),
        (BLACKLIST, "f0:45: zen.example.org.accept.127.255.255.254: no answer that can mean listed"),
        (BLACKLIST, "f0:46: zen.example.org.accept.1.2.3.4: no answer that can mean listed"),
        (BLACKLIST, "f0:44: zen.example.org.accept.127.0.0.4: changed to printable ASCII"),
        (BLACKLIST, "f0:53: any.example.org.expire: got '34560000', want 60 to 31536000 seconds"),
        (BLACKLIST, "f0:54: none.example.org: no answer of it counts; the list is left out"),
        (BLACKLIST, "f0:55: in-addr.arpa.timeout: has no place"),
        (DNSBLS, "f0:4: neg_cache: got '0', want 1 to 2147483647 seconds"),
        (DNSBLS, "f0:5: ns.ns.example.net: got '198.51.100.53', which has no place"),
        (DNSBLS, "f0:8: block: zone transfers are refused unless"),
        (MAILFILTER, "f0:5: PGP: who may report is decided by signatures"),
        ("{ zonename => 'a.test', expire => '1h', refresh => '1d' }", "f0:1: expire: not above refresh + retry"),
        ("{ zonename => 'a b' }", "f0:1: zonename: not a domain name; the zone is left out"),
        ("{ IGNORE => { a => 1 } }", "f0:1: IGNORE: a hash, want a list; left out"),
        ("{ IGNORE => [ [ 1 ] ] }", "f0:1: IGNORE: not a text; left out"),
        ("{ GENERIC => 1 }", "f0:1: GENERIC: not a hash; left out"),
        ("{ IGNORED => 1 }", "f0:1: IGNORED: unknown here; left out"),
        ("{ \"a\\nb\" => 1 }", "f0:1: 'a\\nb': unknown here; left out"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_told_with_its_line(text, note):
    notes = made(text, known={"dnsbl.sorbs.net": "dead, since June 2024"}).notes
    assert any(each.startswith(note) for each in notes), notes


LITERALS = [
    (r"'a\'b\\c\n'", "a'b\\c\\n"),
    (r'"a\"b\\c\n\t\x41\x{e9}\101\0\$\@\q"', 'a"b\\c\n\tA\xe9A\0$@q'),
    ("q(a(b)c)", "a(b)c"),
    ("q{it's}", "it's"),
    ("qq<a\\tb>", "a\tb"),
    ("q!a\\\\b!", "a\\b"),
    ("'a' . \"b\" . 'c'", "abc"),
    ("12", "12"),
    ("-12", "-12"),
    ("1_000", "1000"),
    ("0x1F", "31"),
    ("0b101", "5"),
    ("017", "15"),
    ("1.5", "1.5"),
    ("60*60 * 24", "86400"),
    ("undef", None),
    ("LOG_MAIL", "LOG_MAIL"),
    ("Sys::LOG_MAIL", "Sys::LOG_MAIL"),
    (r"/a\/b\d/i", r"a/b\d"),
    (r"qr{a{1,2}\}}o", r"a{1,2}\}"),
    (r"m(a(b)\))", r"a(b)\)"),
    ("[ 1, 2, ]", ["1", "2"]),
    ("[ 1 2 ]", WireError),
    ("[,]", WireError),
    ("[ (1, 2), 3, qw(4 5) ]", ["1", "2", "3", "4", "5"]),
    ("{ a => 1, 'b', 2 }", {"a": "1", "b": "2"}),
    ("{ a => 1, a => 2 }", {"a": "2"}),
    ("+{ -a => undef }", {"-a": None}),
    ("{ q => 1, m => 2, qw => 3, undef => 4 }", {"q": "1", "m": "2", "qw": "3", "undef": "4"}),
    ("<<A\none $v\nA\n", "one x\n"),
    ("<<'A' . '!'\none $v\nA\n", "one $v\n!"),
    ("<<~\"A B\"\n    one\n\n      two\n  A B\n", "  one\n\n    two\n"),
    ("[ <<A, <<B, 3 ]\na\nA\nb\nB\n", ["a\n", "b\n", "3"]),
    ("$v", "x"),
    ('"<$v ${v}y>"', "<x xy>"),
    ('"mail@example.org"', WireError),
    ('"$unknown"', WireError),
    ("$unknown", WireError),
    ("'a' . [ 1 ]", WireError),
    ("'a' * 2", WireError),
    ("1 + 2", WireError),
    ("127.0.0.2", WireError),
    ("time()", WireError),
    ("`id`", WireError),
    ("@list", WireError),
    ("{ a => 1, b }", WireError),
    ("{ [1] => 2 }", WireError),
    ("/a b/x", WireError),
    (r'"\x{110000}"', WireError),
    (r'"\x{d800}"', WireError),
    ("0x", WireError),
    ("1" * 5000, WireError),
    ("9" * 16 + "*2", WireError),
    ("[", WireError),
    ("{ a => ", WireError),
    ("'abc", WireError),
    ('"abc\\"', WireError),
    ("q(abc", WireError),
    ("<<A\nb\n", WireError),
    ("<<A", WireError),
    ("do { 1 }", WireError),
    ("sub { 1 }", WireError),
]  # fmt: skip


def file_of(literal):
    return f"my $v = 'x';\n{{ v => {literal}}}" if "<<" in literal else f"my $v = 'x';\n{{ v => {literal} }}"


@pytest.mark.parametrize(("text", "value"), LITERALS)
def test_a_literal_has_the_value_that_perl_gives_it_or_is_an_error(text, value):
    if value is WireError:
        with pytest.raises(WireError, match=r"^f:[2-9]: "):
            parse(file_of(text), "f")
    else:
        assert plain(parse(file_of(text), "f")) == {"v": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n a => 1,\n b => 'x\n}\n", "f:3: a text that never ends, got \"'x\", want '"),
        ("{\n a => [ 1,\n", "f:2: [ is never closed, want ]"),
        ("{ a => 1\n  b => 2 }", "f:2: got 'b => 2 }' after a value, want , or }"),
        ("{ a => 192.0.2.1 }", "f:1: an address without quotes, got '192.0.2.1 }', want it in quotes"),
        ('{ a => "x@y.test" }', 'f:1: an unescaped "@" in a text, want \\@, or the text in single quotes'),
        ("{ a => get('x') }", "f:1: a call of 'get', want plain data"),
        ("{ a => 1 } { b => 2 }", "f:1: got '{ b => 2 }' after a value, want ; or the end"),
        ("\n\n", "f:3: nothing found, want a hash { ... }"),
        ("'text';", "f:1: nothing found, want a hash { ... }"),
        ("{ 'a' }", "f:1: a hash with a key but no value, want KEY => VALUE pairs"),
        ("[" * (DEPTH_LIMIT + 1), f"f:1: nested too deep, want at most {DEPTH_LIMIT} levels"),
        ("[" + "1," * NODES_LIMIT + "]", f"f:1: too many values, want at most {NODES_LIMIT}"),
        ("qw(" + "a " * NODES_LIMIT + ")", f"f:1: too many values, want at most {NODES_LIMIT}"),
        ("x" * (10 << 20), f"f: too long, got {10 << 20} characters, want at most {TEXT_LIMIT}"),
        ("$a = '" + "x" * 1000 + "'; \"" + "$a" * 3000 + '"', "f:1: variables in texts make too much of them"),
        ("my $a = [1]; my $b = [$a, $a];", "f:1: got '$a, $a];', a variable that has no text here, want plain data"),
    ],
    ids=range(16),
)  # fmt: skip
def test_an_error_says_where_and_what(text, message):
    with pytest.raises(WireError) as caught:
        parse(text, "f")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "char", ["[", "{", "(", "'", '"', "q(", "qw(", "<<A\n", "$a.", "1*", "a=>", "#", "\n", "=a\n", "\\", "/"]
)
@pytest.mark.timeout(60)
def test_megabytes_of_one_thing_end_soon(char):
    text = (char * TEXT_LIMIT)[: TEXT_LIMIT - 10]
    for head in ("{ a => ", "'"):
        with contextlib.suppress(WireError):
            parse(head + text, "f")


PIECES = st.sampled_from(
    ["{", "}", "[", "]", "(", ")", "=>", ",", ";", "'", '"', "\\", "$a", "@", "#", "\n", "=pod\n", "=cut\n", "<<A",
     "A\n",
     "q", "qq{", "qw(", "qr/", "m", "my $a =", "%b =", "return", "1", "0x", "017", "1.5", ".", "*", "undef", "a",
     "__END__",
     "IGNORE", "zonename", "GENERIC", "'a.test'", "accept", "'127.0.0.2'", " ", "\x85", "\u0663", "é", "\0"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200))
def test_no_text_raises_anything_but_an_error_of_ours(text):
    with contextlib.suppress(WireError):
        value = parse(text, "f").value
        if isinstance(value, dict):
            convert(value, "f", {}, Imported())


def perl(value, draw):
    """A value as Perl writes it, in one of several forms."""
    if isinstance(value, dict):
        pairs = [
            f"{perl(key, draw)} {draw(st.sampled_from(['=>', ',']))} {perl(each, draw)}" for key, each in value.items()
        ]
        return "{ " + ", ".join(pairs) + (draw(st.sampled_from([" }", ", }", ",\n# c\n}"])) if pairs else "}")
    if isinstance(value, list):
        return "[\n" + ",".join(perl(each, draw) for each in value) + "]"
    if value is None:
        return "undef"
    if draw(st.booleans()):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return '"' + "".join(char if char.isalnum() and char.isascii() else f"\\x{{{ord(char):x}}}" for char in value) + '"'


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)
VALUES = st.recursive(
    TEXTS | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(st.data(), st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_perl_writes_is_read_back(data, value):
    assert plain(parse(f"my $x = {perl(value, data.draw)};\n1;\n", "f")) == value


WORDS = st.sampled_from(
    ["192.0.2.1", "192.0.2.0/24", "10.0.0.1-10.0.0.99", "2001:db8::/32", "a.test", "127.0.0.2", "127.0.0.1",
     "127.255.255.254",
     "7d", "1w 3d", "0", "30", "400d", "XX", "x y", "", "a\nb", 'q"\\', "é€😀", "\x7f",
     "a" * 300, "http://a.test/?x=", "mail",
     r"\d+-\d+", "(a+)+", "(", "#x", "10", "99999", "-1", "ns1.a.test", "root.a.test", "\x00", "! ~", "]]>", "[x]"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["IGNORE", "BLOCK", "BBC", "REJECT", "GENERIC", "MXhosts", "NOPRIVATE", "a.test", "B.test.", "in-addr.arpa",
     "..", "x.\n.y",
     "zonename", "contact", "neg_cache", "refresh", "retry", "expire", "minimum", "ns", "mx", "host", "port",
     "127.0.0.2",
     "ignore", "regexp", "error", "accept", "acceptany", "response", "timeout", "url", "comment", "STATS", "é", "a b"]
)  # fmt: skip
LEAVES = WORDS | st.none() | st.lists(WORDS, max_size=3)
CONFIGS = st.dictionaries(
    KEYS,
    LEAVES | st.dictionaries(KEYS | WORDS, LEAVES | st.dictionaries(WORDS, LEAVES, max_size=3), max_size=4),
    max_size=6,
)


@settings(deadline=None)
@given(st.data(), st.lists(CONFIGS, min_size=1, max_size=2))
def test_whatever_is_imported_is_accepted_here(tmp_path_factory, data, values):
    imported = made(*(perl(value, data.draw) for value in values))
    read_back(render(imported, ["f\nx", "é\u2028"]), tmp_path_factory.mktemp("import"))


PERL = shutil.which("perl")
HAS_JSON = PERL and subprocess.run([PERL, "-MJSON::PP", "-e", "1"], capture_output=True, check=False).returncode == 0


def by_perl(directory, text):
    """The value that perl itself gives a file, all numbers as texts."""
    (directory / "c.pl").write_text(text, "utf-8")
    dump = "use JSON::PP; my $c = do './c.pl'; die $@ if $@; print JSON::PP->new->ascii->allow_nonref->encode($c)"
    done = subprocess.run([PERL, "-e", dump], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, parse_int=str, parse_float=str)


@pytest.mark.skipif(not HAS_JSON, reason="perl with its module JSON::PP is not installed")
def test_perl_itself_gives_the_same_values(tmp_path):
    mailfilter = MAILFILTER.replace("$x =", "my $x =").replace("1;", "$x;")
    for text in (BLACKLIST.replace("LOG_WARNING", "'LOG_WARNING'"), mailfilter):
        assert by_perl(tmp_path, text) == plain(parse(text, "f"))
    # Expressions have no value of their own in Perl.
    told = [text for text, value in LITERALS if value is not WireError and not re.match(r"/|qr|m\(", text)]
    assert len(told) >= 30
    for text in told:
        assert by_perl(tmp_path, file_of(text).replace("{ v", "+{ v", 1)) == plain(parse(file_of(text), "f")), text


@pytest.mark.parametrize(
    ("text", "want"),
    [("7d", 604_800), ("1w 3d", 864_000), ("168h", 604_800), ("10080m", 604_800), ("604800", 604_800), ("1H1M1S", 3661),
     (" 5 m ", 300), ("", None), ("junk", None), ("7", 7), ("7x", None), ("d7", None), ("1d junk", None), ("-1d",
     None)],
)  # fmt: skip
def test_a_duration_is_the_sum_of_its_parts(text, want):
    assert seconds(text) == want


def test_equal_files_say_a_thing_once():
    imported = made(BLACKLIST, BLACKLIST, DNSBLS, DNSBLS)
    zones = [one["zone"] for one in imported.lists]
    assert len(set(zones)) == len(zones) and len(imported.zones) == 1
    assert "f1:40: zen.example.org: an earlier file has it already; what stood here is left out" in imported.notes
    assert "f3:2: zonename: an earlier file has this zone; it is left out" in imported.notes


@pytest.fixture
def run(tmp_path):
    """The command in an empty directory with settings of its own."""
    (tmp_path / "spamcannibal.toml").write_text("")

    def call(*arguments):
        return CliRunner().invoke(
            cli, ["-c", str(tmp_path / "spamcannibal.toml"), "config", "import-perl", *map(str, arguments)]
        )

    return call


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_the_command_prints_what_it_would_write(run, tmp_path):
    (tmp_path / "old.conf").write_text(BLACKLIST, "utf-8")
    done = run(tmp_path / "old.conf")
    assert done.exit_code == 0
    assert [line for line in done.output.split("\n") if line.startswith("# ====")] == [
        f"# ==== {name}" for name in (SETTINGS, LISTS, NEVER, BLOCK, GENERIC)
    ]
    assert files(tmp_path) == ["old.conf", "spamcannibal.toml"]
    settings_text = done.output.partition(f"# ==== {LISTS}")[0]
    # The shipped catalogue knows that one is dead.
    assert tomllib.loads(settings_text)["remote"]["lists"] == ["zen.example.org", "any.example.org"]
    assert "dnsbl.sorbs.net: lists.d has it already (dead, since 5 June 2024" in settings_text


def test_the_command_writes_files_that_config_check_accepts_and_no_file_twice(run, tmp_path):
    (tmp_path / "old.conf").write_text(BLACKLIST, "utf-8")
    (tmp_path / "never-list").write_text("@special\n")
    dry = run(tmp_path / "old.conf", "-o", tmp_path, "--dry-run", "--json")
    assert dry.exit_code == 0 and files(tmp_path) == ["never-list", "old.conf", "spamcannibal.toml"]
    done = run(tmp_path / "old.conf", "-o", tmp_path, "--json")
    assert done.exit_code == 0
    assert set(files(tmp_path)) >= {SETTINGS, LISTS, NEVER, BLOCK, GENERIC}
    checked = CliRunner().invoke(cli, ["-c", str(tmp_path / "spamcannibal.toml"), "config", "check"])
    assert (checked.exit_code, checked.output) == (0, "ok\n")
    for name, line, problem in (
        (BLOCK, "300.1.1.1\n", "not an address: got '300.1.1.1'"),
        (GENERIC, "~(\n", "not a regular expression of Python"),
        (LISTS, "[[list]]\nzone = 'x.test'\n", "accept: missing"),
    ):
        right = (tmp_path / name).read_text("utf-8")
        (tmp_path / name).write_text(right + line, "utf-8")
        checked = CliRunner().invoke(cli, ["-c", str(tmp_path / "spamcannibal.toml"), "config", "check"])
        assert checked.exit_code == 78 and problem in checked.output, checked.output
        (tmp_path / name).write_text(right, "utf-8")
    before = (tmp_path / SETTINGS).read_text("utf-8")
    again = run(tmp_path / "old.conf", "-o", tmp_path, "--json")
    assert again.exit_code == 1
    assert all(row["done"] == "exists, left alone" for row in json.loads(again.stdout))
    assert (tmp_path / SETTINGS).read_text("utf-8") == before


def test_what_a_file_includes_replaces_its_keys(run, tmp_path):
    (tmp_path / "a.conf").write_text("{ INCLUDE => 'sub/b.conf', REJECT => 'from a', BBC => ['XA'] }")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.conf").write_text("{ REJECT => 'from b', INCLUDE => 'c.conf' }")
    (tmp_path / "sub" / "c.conf").write_text("{ 'in-addr.arpa' => { error => 'from c' } }")
    done = run(tmp_path / "a.conf")
    assert done.exit_code == 0
    jobs = tomllib.loads(done.output)["jobs"]
    assert (jobs["block_text"], jobs["missing_ptr_text"], jobs["countries"]) == ("from b", "from c", ["XA"])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{ INCLUDE => 'a.conf' }", WireError, "INCLUDE goes more than 8 files deep, or round"),
        ("{ INCLUDE => 'none.conf' }", ConfigError, "none.conf: No such file or directory"),
        ("{ INCLUDE => \"a\\0b\" }", ConfigError, "can't read"),
        ("[ 1 ]", WireError, "a list, want a hash of settings"),
        ("{ a => ", WireError, "a.conf:1: { is never closed, want }"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_taken_is_named(run, tmp_path, text, error, message):
    (tmp_path / "a.conf").write_text(text)
    done = run(tmp_path / "a.conf")
    assert isinstance(done.exception, error)
    assert message in str(done.exception)


def test_a_file_in_latin_1_is_read(run, tmp_path):
    (tmp_path / "a.conf").write_bytes(b"{ REJECT => 'caf\xe9' }")
    assert run(tmp_path / "a.conf").exit_code == 0
