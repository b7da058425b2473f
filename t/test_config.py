"""Settings: the shipped file is the defaults, mistakes are named, all of them at once, and what is shown reads back."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spamcannibal import checks, config, decode
from spamcannibal.commands.main import cli
from spamcannibal.errors import ConfigError
from spamcannibal.settings import Settings
from spamcannibal.settings.dnsbl import ZoneSettings
from spamcannibal.settings.gather import ReporterSettings
from spamcannibal.settings.robot import SubmitterSettings
from spamcannibal.settings.share import PeerSettings
from spamcannibal.settings.tarpit import TarpitSettings

SHIPPED = Path(__file__).parent.parent / "conf" / "spamcannibal.toml"


def write(directory, text, name="spamcannibal.toml"):
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def uncommented(text):
    """The shipped file with its defaults switched on: they are commented out without a space after the #."""
    return re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE)


def keys(kind):
    return [field.name for field in msgspec.structs.fields(kind)]


def test_the_shipped_file_names_every_key_with_its_default():
    shipped = tomllib.loads(uncommented(SHIPPED.read_text("utf-8")))
    (zone,) = shipped["dnsbl"]["zone"]
    defaults = msgspec.to_builtins(Settings())
    for section, table in shipped.items():
        assert sorted(table) == sorted(defaults[section])
    reading = config.read(SHIPPED)
    assert reading.problems == () and reading.origins == {}
    assert sorted(shipped) == sorted(defaults)
    assert sorted(zone) == sorted(keys(ZoneSettings))
    (reporter,) = shipped["gather"]["reporter"]
    assert sorted(reporter) == sorted(keys(ReporterSettings))
    (peer,) = shipped["share"]["peer"]
    assert sorted(peer) == sorted(keys(PeerSettings))
    (submitter,) = shipped["robot"]["submitter"]
    assert sorted(submitter) == sorted(keys(SubmitterSettings))


def test_the_shipped_file_switched_on_is_the_built_in_settings(tmp_path):
    shipped = config.load(write(tmp_path, uncommented(SHIPPED.read_text("utf-8"))))
    assert shipped.dnsbl.zone == (ZoneSettings(name="bl.example.org"),)
    plain = config.load(write(tmp_path, ""))
    (reporter,) = shipped.gather.reporter
    assert reporter == ReporterSettings(name="mx1", addresses=("127.0.0.0/8", "::1"))
    assert msgspec.structs.replace(shipped.gather, reporter=()) == plain.gather
    assert msgspec.structs.replace(shipped.robot, submitter=()) == plain.robot
    assert msgspec.structs.replace(shipped.complaint, contact=()) == plain.complaint
    assert shipped.share.peer == (PeerSettings(name="site2", server="192.0.2.53:10045"),)
    assert msgspec.structs.replace(shipped.share, peer=()) == plain.share
    emptied = {part: getattr(plain, part) for part in ("dnsbl", "gather", "robot", "complaint", "share")}
    assert msgspec.structs.replace(shipped, **emptied) == plain
    assert shipped.dnsbl.listen == plain.dnsbl.listen


def test_without_any_file_the_defaults_hold(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "none.toml")
    assert config.load().tarpit == TarpitSettings()
    assert config.load().guard.never_list == str(tmp_path / "never-list")


def test_a_named_file_that_is_missing_is_an_error(tmp_path):
    for reading in (
        config.read(tmp_path / "none.toml"),
        config.read(None, {config.ENVIRONMENT_KEY: str(tmp_path / "none.toml")}),
    ):
        assert reading.problems == (f"{tmp_path}/none.toml: can't read the settings: No such file or directory",)


def test_the_environment_names_the_file_and_an_argument_wins(tmp_path):
    first = write(tmp_path, "tarpit.mode = 'drop'", "first.toml")
    second = write(tmp_path, "tarpit.mode = 'observe'", "second.toml")
    env = {config.ENVIRONMENT_KEY: str(first)}
    assert config.load(None, env).tarpit.mode == "drop"
    assert config.load(second, env).tarpit.mode == "observe"


def test_conf_d_overrides_key_by_key_in_order_and_origins_say_so(tmp_path):
    main = write(tmp_path, "[tarpit]\nmode = 'drop'\nqueues = '1'\nconnections = 5\n")
    write(tmp_path, "tarpit.mode = 'observe'", "conf.d/20-b.toml")
    write(tmp_path, "tarpit.mode = 'throttle'\ntarpit.queues = '0:3'", "conf.d/10-a.toml")
    write(tmp_path, "nonsense", "conf.d/notes.txt")
    reading = config.read(main)
    tarpit = reading.settings.tarpit
    assert (tarpit.mode, tarpit.queues, tarpit.connections) == ("observe", "0:3", 5)
    assert {key: Path(file).name for key, file in reading.origins.items()} == {
        "tarpit.mode": "20-b.toml", "tarpit.queues": "10-a.toml", "tarpit.connections": "spamcannibal.toml",
    }  # fmt: skip


def test_paths_are_relative_to_the_main_file(tmp_path):
    main = write(tmp_path, "store.path = 'db'\n[guard]\nnever_list = '/abs/list'\n")
    settings = config.load(main)
    assert (settings.store.path, settings.guard.never_list) == (str(tmp_path / "db"), "/abs/list")
    assert config.load(write(tmp_path, "")).guard.never_list == str(tmp_path / "never-list")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("[tarpit]\nconections = 3", "tarpit.conections: unknown key, did you mean connections?"),
        ("[tarpt]\na = 3", "tarpt: unknown section, did you mean tarpit?"),
        ("[zzz]\na = 3", "zzz: unknown section, want one of store, guard, tarpit, firewall, dnsbl, "),
        ("tarpit = 3", "tarpit: not a section, got 3, want [tarpit]"),
        ("tarpit.mode = 'stuter'", "tarpit.mode: wrong value, got 'stuter', want one of throttle, persist, stut"),
        ("tarpit.connections = '3'", "tarpit.connections: wrong value, got '3', want int"),
        ("tarpit.connections = -1", "tarpit.connections: wrong value, got -1, want int >= 0"),
        ("tarpit.connections = true", "tarpit.connections: wrong value, got True, want int"),
        ("tarpit.loopback = 1", "tarpit.loopback: wrong value, got 1, want bool"),
        ("tarpit.queues = '3:1'", "tarpit.queues: wrong value, got '3:1', want N or FIRST:LAST"),
        ("tarpit.stutter_interval_s = '10 parsecs'",
         "tarpit.stutter_interval_s: wrong value, got '10 parsecs', want a number with one of ms s"),
        ("tarpit.stutter_interval_s = nan", "tarpit.stutter_interval_s: wrong value, got nan, want a finite number"),
        ("tarpit.stutter_interval_s = 1979-05-27",
         "tarpit.stutter_interval_s: wrong value, got datetime.date(1979, 5, 27), want float"),
        ("tarpit.greeting_name = 'a b'", "tarpit.greeting_name: wrong value, got 'a b', want a host name"),
        ('tarpit.greeting_name = "a\\r\\nb"', "tarpit.greeting_name: wrong value, got 'a\\r\\nb', want a host name"),
        ("tarpit.user = 'root; rm'", "tarpit.user: wrong value, got 'root; rm', want a user name"),
        ("[tarpit]\ngreeting_name = 'mx'\nthrottle_window = 60",
         "tarpit.throttle_window: got 60, want below the greeting's 8 bytes"),
        ("firewall.ports = [25, 0]", "firewall.ports: wrong value, got [25, 0], want int >= 1"),
        ("firewall.ports = [25, 25]", "firewall.ports: the same value twice, got [25, 25]"),
        ("firewall.ports = 25", "firewall.ports: wrong value, got 25, want array"),
        ("firewall.hooks = ['output']", "firewall.hooks: wrong value, got ['output'], want one of input, forward"),
        ("firewall.interfaces = ['a/b']", "firewall.interfaces: wrong value, got 'a/b', want an interface name"),
        ("dnsbl.listen = ['127.0.0.1']", "dnsbl.listen: wrong value, got '127.0.0.1', want ADDRESS:PORT"),
        ("dnsbl.listen = ['::1:53']", "dnsbl.listen: wrong value, got '::1:53', want ADDRESS:PORT"),
        ("dnsbl.zone = 3", "dnsbl.zone: wrong value, got 3, want tables"),
        ("[[dnsbl.zone]]\ntext = 'x'", "dnsbl.zone[0].name: missing"),
        ("[[dnsbl.zone]]", "dnsbl.zone[0].name: missing"),
        ("[[dnsbl.zone]]\nname = 'a..b'", "dnsbl.zone[0].name: wrong value, got 'a..b', want a domain name"),
        ("[[dnsbl.zone]]\nname = 'a.b'\nnam = 1", "dnsbl.zone[0].nam: unknown key, did you mean name?"),
        ("[[dnsbl.zone]]\nname = 'a.b'\n[[dnsbl.zone]]\nname = 'A.B'",
         "dnsbl.zone[1].name: the same zone twice, got A.B"),
        ("[[dnsbl.zone]]\nname = 'a.b'\nexpire_s = '1m'",
         "dnsbl.zone[0].expire_s: got 60, want above refresh_s + retry_s"),
        ("[[dnsbl.zone]]\nname = 'a.b'\ncontact = 'nobody'",
         "dnsbl.zone[0].contact: wrong value, got 'nobody', want a mail address"),
        ("services.restart_max_s = 0.1", "services.restart_max_s: got 0.1, want at least restart_initial_s"),
        ("services.enabled = ['tarpit', 'wob']",
         "services.enabled: wrong value, got ['tarpit', 'wob'], want one of tarpit, dnsbl"),
        ("[[gather.reporter]]\nname = 'a'", "gather.reporter[0] (a): want addresses, fingerprints, names or key_file"),
        ("[[gather.reporter]]\nname = 'a'\naddresses = ['here']",
         "gather.reporter[0].addresses: wrong value, got 'here', want an address, a prefix, or local"),
        ("[[gather.reporter]]\nname = 'a'\naddresses = ['local']\nweight = 3\nmost = 2.5",
         "gather.reporter[0] (a).most: got 2.5, want 0 or at least the weight"),
        ("[[gather.reporter]]\nname = 'a'\nnames = ['a.example']",
         "gather.reporter[0] (a): certificates need tls_listen and tls_clients"),
        ("gather.tls_listen = ['127.0.0.1:1']", "gather.tls_listen: needs tls_certificate"),
        ("gather.socket_mode = '888'", "gather.socket_mode: wrong value, got '888', want three octal digits"),
        ("[[robot.submitter]]\nname = 'a'",
         "robot.submitter[0]: got 0 of fingerprint, dkim and header, want exactly one"),
        ("[[robot.submitter]]\nname = 'a'\ndkim = 'example.net'\nroles = ['command']",
         "robot.submitter[0].roles: command is for those who sign, want a fingerprint"),
        ("[[robot.submitter]]\nname = 'a'\nfingerprint = '0123456789ABCDEF'",
         "robot.submitter[0].fingerprint: wrong value, got '0123456789ABCDEF', want 40 hexadecimal digits"),
        ("[[robot.submitter]]\nname = 'a'\nheader = 'X-A: short'",
         "robot.submitter[0].header: wrong value, got 'X-A: short', want NAME: VALUE"),
        ("robot.address = 'robot@example.net'", "robot.key: missing, want the robot's own key to sign answers"),
        ("robot.neighbours = true", "robot.neighbours: got true, want jobs.generic_ptr set"),
        ("robot.lmtp = '192.0.2.1:24'", "robot.lmtp: wrong value, got '192.0.2.1:24', want a socket's absolute path"),
        ("robot.own_hosts = ['a b']", "robot.own_hosts: wrong value, got 'a b', want a host name, .NAME for all"),
        ("[[share.peer]]\nname = 'a'\nserver = '192.0.2.1:10045'\nhost = 'mx.example.org'",
         "share.peer[0] (a): host and certificate are for TLS, which needs authority"),
        ("[web]\nlisten = ['/run/x', '127.0.0.1:8025']", "web.listen: sockets and ports, want only one kind"),
        ("[[share.peer]]\nname = 'a'\nserver = ''", "share.peer[0].server: wrong value, got '', want ADDRESS:PORT"),
        ("trap.recipients = ['a b']", "trap.recipients: wrong value, got 'a b', want a mail address, a domain"),
        ("complaint.rdap = 'file:///etc/passwd'",
         "complaint.rdap: wrong value, got 'file:///etc/passwd', want an http"),
        ("[\"a\\nb\"]\nc = 1", "'a\\nb': unknown section"),
        ("[tarpit]\n\"a\\nb\" = 1", "tarpit.'a\\nb': unknown key"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_what_is_wanted(tmp_path, text, want):
    path = write(tmp_path, text)
    reading = config.read(path)
    assert reading.settings is None
    assert len(reading.problems) == 1
    assert reading.problems[0].startswith(f"{path}: {want}")


def test_a_mistake_in_toml_names_the_line(tmp_path):
    path = write(tmp_path, "[tarpit]\nmode = \n")
    assert config.read(path).problems == (f"{path}:2: not TOML: Invalid value, column 8",)


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a = " + b"[" * 20_000, b"#" * (config.FILE_LIMIT_BYTES + 1)])
def test_a_file_that_is_no_settings_at_all_is_one_problem(tmp_path, raw):
    path = tmp_path / "x.toml"
    path.write_bytes(raw)
    assert len(config.read(path).problems) == 1


def test_all_mistakes_are_found_in_one_run(tmp_path):
    path = write(tmp_path, "[tarpit]\nmode = 1\nqueues = ''\n[log]\nformat = 'xml'\n[x]\n")
    write(tmp_path, "guard.v6_prefix = 129", "conf.d/a.toml")
    assert len(config.read(path).problems) == 5
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("15m", 900), ("7d", 604_800), ("1.5h", 5400), ("250ms", 0.25), ("2w", 1_209_600),
     ("10 s", 10), ("", None), ("s", None), ("-1s", None), ("1e3s", None), ("1s ", None), ("1S", None),
     ("\u0663s", None), ("10s5", None), ("1" * 30, None)],
)  # fmt: skip
def test_durations(text, seconds):
    assert decode.parse_quantity(text, decode.DURATIONS) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 << 20), ("64MB", 64_000_000), ("1.5KiB", 1536), ("12", 12), ("1B", 1), ("1m", None)],
)
def test_sizes(text, size):
    assert decode.parse_quantity(text, decode.SIZES) == size


def test_units_are_taken_where_the_key_has_one(tmp_path):
    path = write(
        tmp_path,
        "store.cache_bytes = '1GiB'\ntarpit.stutter_interval_s = '500ms'\n[[dnsbl.zone]]\nname = 'a.b'\nttl_s = '5m'\n",
    )
    settings = config.load(path)
    assert (settings.store.cache_bytes, settings.tarpit.stutter_interval_s) == (1 << 30, 0.5)
    assert settings.dnsbl.zone[0].ttl_s == 300


@pytest.mark.parametrize(
    ("text", "queues"), [("0", [0]), ("7", [7]), ("0:3", [0, 1, 2, 3]), ("5:5", [5]), ("0:63", [*range(64)])]
)
def test_queue_ranges(text, queues):
    assert list(checks.queue_range(text)) == queues


@pytest.mark.parametrize("text", ["", "a", "1:", ":1", "3:1", "0:64", "65536", "1:2:3", "-1", "0 :1"])
def test_wrong_queue_ranges(text):
    with pytest.raises(ConfigError):
        checks.queue_range(text)


LEAVES = st.one_of(
    st.integers(-(2**40), 2**40),
    st.floats(),
    st.booleans(),
    st.text(max_size=20),
    st.sampled_from(["0:3", "10s", "64MiB"]),
)
VALUES = st.one_of(LEAVES, st.lists(LEAVES, max_size=3))


@st.composite
def files(draw):
    """TOML of known and unknown keys with values of any type."""
    lines = []
    for section in draw(st.lists(st.sampled_from([*keys(Settings), "other"]), unique=True)):
        kind = {field.name: field.type for field in msgspec.structs.fields(Settings)}.get(section)
        lines.append(f"[{section}]")
        for key in draw(st.lists(st.sampled_from([*(keys(kind) if kind else ()), "other"]), unique=True, max_size=4)):
            lines.append(f"{key} = {literal(draw(VALUES))}")
    return "\n".join(lines)


def literal(value):
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, float):
        return str(value) if value == value else "nan"
    return json.dumps(value).replace("\x7f", "\\u007f")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(files(), st.text()))
@example("[tarpit]\nmode = 'drop'\n")
def test_any_text_gives_settings_or_one_line_problems(tmp_path, text):
    try:
        path = write(tmp_path, text, "fuzz.toml")
    except UnicodeEncodeError:
        return
    reading = config.read(path)
    assert (reading.settings is None) == bool(reading.problems)
    assert all(problem.isprintable() for problem in reading.problems)


def run(*args):
    return CliRunner().invoke(cli, args)


def test_check_says_ok_for_the_shipped_files(tmp_path):
    write(tmp_path, (SHIPPED.parent / "never-list").read_text("utf-8"), "never-list")
    result = run("-c", str(write(tmp_path, SHIPPED.read_text("utf-8"))), "config", "check")
    assert (result.exit_code, result.output) == (0, "ok\n")


def test_check_prints_every_mistake_and_exits_78(tmp_path):
    result = run("-c", str(write(tmp_path, "tarpit.mode = 1\ntarpit.queues = 'x'\nfoo.bar = 1\n")), "config", "check")
    assert (result.exit_code, len(result.stderr.splitlines()), result.stdout) == (78, 3, "")


def test_check_reads_the_never_list(tmp_path):
    main = write(tmp_path, "")
    result = run("-c", str(main), "config", "check")
    assert result.exit_code == 78 and f"can't read {tmp_path}/never-list" in result.stderr
    write(tmp_path, "@specia\n1.2.3.4/8\n", "never-list")
    result = run("-c", str(main), "config", "check")
    assert result.exit_code == 78
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == [
        f"{tmp_path}/never-list:{n}" for n in (1, 2)
    ]


ZONES = """
[[dnsbl.zone]]
name = 'a.example'
ns = ['n1.example']
[[dnsbl.zone]]
name = 'b.example'
text = 'say "$" \\\\'
"""


@pytest.mark.parametrize("text", ["", "tarpit.mode = 'drop'\nfirewall.ports = [25, 587]\n", ZONES])
@pytest.mark.parametrize("origin", [[], ["--origin"]])
def test_what_is_shown_reads_back_as_the_same_settings(tmp_path, text, origin):
    main = write(tmp_path, text)
    result = run("-c", str(main), "config", "show", *origin)
    assert result.exit_code == 0
    assert config.load(write(tmp_path, result.output, "shown.toml")) == config.load(main)


def test_show_json_is_data_with_origins_if_asked(tmp_path):
    main = write(tmp_path, "tarpit.mode = 'drop'")
    assert json.loads(run("-c", str(main), "config", "show", "--json").output)["tarpit"]["mode"] == "drop"
    shown = json.loads(run("-c", str(main), "config", "show", "--json", "--origin").output)
    assert shown["tarpit"]["mode"] == {"value": "drop", "origin": str(main)}
    assert shown["tarpit"]["queues"]["origin"] == "default"
