"""The house rules of imports, read from the sources: layers point down, pure modules do no I/O, libraries stay put.

| layer | modules |
|---|---|
| 0 ground | addresses, errors, records, settings, events: GROUND |
| 1 pure | every module that no other row names, and the C core |
| 2 store | store/, and what the host gives to daemons: HOST |
| 3 shells | SHELLS: the modules of a slice that do its I/O |
| 4 commands | commands/ and __main__ |

A new module of a slice counts as pure until it is named in SHELLS; a name there that no longer exists fails too.
"""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT / "lib"
CORE = LIB / "spamcannibal" / "core"

GROUND = {"", "addr", "checks", "config", "decode", "errors", "events", "layout", "ranges", "record", "settings"}
HOST = {"service", "sockets"}
SHELLS = {
    "doctor.host",
    "doctor.reach",
    "explain",
    "neverfile",
    "standing",
    "happenings",
    "dnsbl.export.figures",
    "dnsbl.export.files",
    "dnsbl.export.follow",
    "dnsbl.export.kernel",
    "dnsbl.export.sample",
    "dnsbl.export.source",
    "dnsbl.client",
    "dnsbl.daemon",
    "dnsbl.diary",
    "dnsbl.difference",
    "dnsbl.notifier",
    "dnsbl.pages",
    "dnsbl.publisher",
    "dnsbl.responder",
    "dnsbl.secondaries",
    "dnsbl.server",
    "dnsbl.shown",
    "dnsbl.sockets",
    "dnsbl.tcp",
    "dnsbl.texts",
    "dnsbl.transfer",
    "dnsbl.udp",
    "gather.client",
    "gather.connections",
    "gather.courier",
    "gather.daemon",
    "gather.follower",
    "gather.logfiles",
    "gather.places",
    "gather.server",
    "gather.sharer",
    "gather.tail",
    "gather.writer",
    "jobs.blcheck",
    "jobs.blpreen",
    "jobs.cleanup",
    "robot.catcher",
    "robot.dkimcheck",
    "robot.feed",
    "robot.folder",
    "robot.gate",
    "robot.intake",
    "robot.lmtp",
    "robot.mailout",
    "robot.neighbours",
    "robot.pgp",
    "robot.smtploop",
    "robot.trapserver",
    "robot.whois",
    "robot.world",
    "remote.catalogue",
    "remote.client",
    "remote.names",
    "remote.resolver",
    "remote.statefile",
    "remote.streams",
    "remote.walk",
    "remote.watch",
    "tarpit.book",
    "tarpit.chores",
    "tarpit.clerk",
    "tarpit.daemon",
    "tarpit.firewall",
    "tarpit.keep",
    "tarpit.replay",
    "web.activity",
    "web.activity_made",
    "web.api",
    "web.api_call",
    "web.api_callers",
    "web.api_fuse",
    "web.api_info",
    "web.api_journal",
    "web.api_listings",
    "web.api_openapi",
    "web.api_routes",
    "web.api_stream",
    "web.app",
    "web.metrics",
    "web.metrics_facts",
    "web.metrics_text",
    "web.metrics_words",
    "web.bouncer",
    "web.bouncer_feed",
    "web.tokens",
    "web.turn",
    "web.admin",
    "web.admin_access",
    "web.admin_account",
    "web.admin_change",
    "web.admin_health",
    "web.admin_journal",
    "web.admin_list",
    "web.admin_never",
    "web.admin_queue",
    "web.admin_users",
    "web.drafts",
    "web.home",
    "web.pointers",
    "web.passwords",
    "web.sessions",
    "web.signin",
    "web.users",
    "web.asked",
    "web.lookup",
    "web.policy",
    "web.removal",
    "web.removal_desk",
    "web.removal_post",
    "web.site",
}

# Slices stand alone; whoever needs another's module says here which, and never its shell.
CROSS_SLICE: set[tuple[str, str]] = {
    ("jobs.asker", "remote.verdict"),
    ("web.activity_made", "activity.chart"),
    ("web.activity_made", "activity.report"),
    ("web.activity_made", "activity.tables"),
    ("dnsbl.diary", "activity.figures"),
    ("dnsbl.diary", "activity.now"),
    ("dnsbl.diary", "activity.spool"),
    ("tarpit.book", "activity.figures"),
    ("tarpit.book", "activity.now"),
    ("tarpit.keep", "activity.now"),
    ("tarpit.ledger", "activity.figures"),
    ("tarpit.ledger", "activity.holds"),
    ("tarpit.ledger", "activity.now"),
    ("jobs.blcheck", "remote.verdict"),
    ("jobs.recheck", "remote.verdict"),
    ("jobs.rules", "remote.lists"),
    ("jobs.rules", "remote.verdict"),
    ("robot.neighbours", "jobs.rules"),
    ("robot.neighbours", "remote.verdict"),
    ("gather.figures", "dnsbl.metrics"),  # the lines of a metric
    ("web.api_info", "remote.health"),
    ("web.bouncer_decisions", "dnsbl.export.entry"),
    ("web.bouncer_feed", "dnsbl.export.entry"),
    ("web.bouncer_feed", "dnsbl.export.tree"),
    ("web.metrics_facts", "activity.figures"),
    ("web.metrics_facts", "activity.now"),
    ("web.metrics_facts", "remote.health"),
    ("web.metrics_text", "dnsbl.export.outlet"),
    ("web.metrics_text", "dnsbl.metrics"),
    ("web.site", "remote.lists"),
    ("web.lookup", "robot.redact"),
    ("web.public", "jobs.labels"),
}
SLICES = {"activity", "tarpit", "dnsbl", "remote", "jobs", "robot", "gather", "web"}

IMPURE = {
    "asyncio", "concurrent", "ctypes", "datetime", "fcntl", "logging", "multiprocessing", "os", "pathlib", "queue",
    "random", "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile",
    "threading", "time", "urllib",
}  # fmt: skip
# Pure but for this one thing, and why.
EXCEPTIONS = {
    "config": {"pathlib"},  # settings are read from files
    "settings": {"pathlib"},  # paths in them are resolved
    **{f"settings.{name}": {"pathlib"} for name in ("follow", "jobs", "robot", "share")},
    "events": {"threading", "time"},  # a log is shared by threads and stamps its lines
    "rows": {"datetime"},  # stored times as text
    "web.api_views": {"datetime"},  # and as what they are
    "moments": {"datetime"},  # times as people write them
    "jobs.countries": {"socket"},  # inet_pton does no I/O and is eight times as fast as parse_addr
}
# Settings reach pure modules as values; only what is about settings itself may name their types.
KNOWS_SETTINGS = {"tarpit.notes"}

# Outside library -> where it may stand, as module prefixes.
OUTSIDE = {
    "argon2": ("web.",),
    "aiosmtpd": ("robot.lmtp", "robot.trapserver"),
    "berkeleydb": ("store.",),
    "cachetools": ("dnsbl.", "remote.", "gather.", "web."),
    "click": ("commands.",),
    "dkim": ("robot.dkimcheck",),
    "dns": ("robot.dkimcheck",),
    "flask": ("web.",),
    "jinja2": ("commands.", "web."),
    "markupsafe": ("commands.", "web."),
    "dnslib": ("dnsbl.", "remote.query"),
    "gnupg": ("robot.pgp",),
    "matplotlib": ("commands.",),
    "msgspec": (
        "activity.", "config", "decode", "explain", "gather.signs", "record", "removal", "settings.", "store.",
        "commands.", "remote.", "tarpit.notes", "web.",
    ),
    "pyotp": ("web.",),
    "netfilterqueue": ("tarpit.daemon",),
    "rich": ("commands.",),
    "scapy": ("tarpit.replay",),
    "segno": ("web.",),
    "waitress": ("commands.",),
    "werkzeug": ("web.",),
}
# Licences that GPL-2.0-only, scapy's, can't share a process with.
FOREIGN = ("aiosmtpd", "prometheus_client", "requests", "aiohttp", "cryptography")
FREESTANDING = {
    "capture.c", "capture.h", "dnsbytes.h", "dnsname.c", "dnsname.h", "dnsquery.c", "dnsquery.h", "dnsrecord.c",
    "dnsrecord.h", "dnswire.c", "dnswire.h", "dnszone.h", "packet.c", "packet.h", "siphash.h", "tarpit.c", "tarpit.h",
}  # fmt: skip


def module_name(path):
    """The dotted name below spamcannibal: "" for the package, "store" for a package's own module."""
    parts = path.relative_to(LIB / "spamcannibal").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted((LIB / "spamcannibal").rglob("*.py"))}
MODULES = sorted(SOURCES)


@functools.cache
def imports(module, running=False):
    """Every module that a source imports, at any depth of its code: absolute dotted names.

    With `running`, without what stands under `if TYPE_CHECKING`, which never runs.
    """
    tree = ast.parse(SOURCES[module].read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if running and id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_imports(module, running=False):
    """The modules of ours that a source imports; `_core` is the C extension."""
    names = {name.removeprefix("spamcannibal").lstrip(".") for name in imports(module, running) if is_ours(name)}
    return {name for name in names if name in SOURCES or name == "_core"}


def is_ours(name):
    return name == "spamcannibal" or name.startswith("spamcannibal.")


def outside_imports(module):
    return {name.partition(".")[0] for name in imports(module) if not is_ours(name)}


def layer(module):
    top = module.partition(".")[0]
    if top in ("commands", "__main__"):
        return 4
    if module in SHELLS:
        return 3
    if top == "store" or module in HOST:
        return 2
    return 0 if module in GROUND or top == "settings" else 1


def is_pure(module):
    return layer(module) < 2


def slice_of(module):
    top = module.partition(".")[0]
    return top if top in SLICES else None


def reached(start):
    """Every module of ours that a process which imports `start` may load, lazily imported ones included."""
    seen, todo = set(), [start]
    while todo:
        module = todo.pop()
        if module in seen or module not in SOURCES:
            continue
        seen.add(module)
        todo += own_imports(module, running=True)
    return seen


def test_the_tables_name_only_modules_that_exist():
    named = GROUND | HOST | SHELLS | set(EXCEPTIONS) | KNOWS_SETTINGS | {end for edge in CROSS_SLICE for end in edge}
    assert named - set(MODULES) == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    for other in own_imports(module):
        # The package's __init__ holds the version and nothing else; the commands' holds the table of commands.
        assert layer(other) <= layer(module), f"{module} imports {other}, which lies above it"


@pytest.mark.parametrize("module", [name for name in MODULES if slice_of(name)])
def test_a_slice_imports_another_one_only_by_an_edge_named_here(module):
    for other in own_imports(module):
        if slice_of(other) not in (None, slice_of(module)):
            assert (module, other) in CROSS_SLICE
            assert other not in SHELLS


@pytest.mark.parametrize("module", [name for name in MODULES if is_pure(name)])
def test_a_pure_module_does_no_io(module):
    assert outside_imports(module) & IMPURE <= EXCEPTIONS.get(module, set())
    if layer(module) == 1:
        assert {name.partition(".")[0] for name in own_imports(module)} & {"config", "events", "settings"} <= (
            {"settings"} if module in KNOWS_SETTINGS else set()
        )


@pytest.mark.parametrize("module", [name for name in EXCEPTIONS if name in SOURCES])
def test_no_exception_outlives_its_use(module):
    assert EXCEPTIONS[module] <= outside_imports(module)


@pytest.mark.parametrize("module", MODULES)
def test_an_outside_library_stands_where_it_may(module):
    for library in outside_imports(module) - sys.stdlib_module_names:
        assert library in OUTSIDE, f"{module} imports {library}, which has no place yet"
        assert f"{module}.".startswith(OUTSIDE[library]), f"{module} imports {library}"


def includes(path):
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text("utf-8"), re.MULTILINE)


C_FILES = sorted([*CORE.glob("*.c"), *CORE.glob("*.h")])


@pytest.mark.parametrize("path", C_FILES, ids=lambda path: path.name)
def test_python_h_stays_in_the_binding(path):
    if path.name != "module.c" and not path.name.startswith("py_"):
        assert not [name for name in includes(path) if name == "Python.h" or name.startswith("py_")]


@pytest.mark.parametrize("name", sorted(FREESTANDING))
def test_a_freestanding_file_needs_no_library(name):
    allowed = {"stdint.h", "stddef.h", "stdbool.h", *FREESTANDING}
    assert set(includes(CORE / name)) <= allowed


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) == 4])
def test_no_process_of_ours_mixes_scapy_with_foreign_licences(module):
    libraries = set().union(*map(outside_imports, reached(module)))
    assert "scapy" not in libraries or not libraries & set(FOREIGN)


def test_no_test_process_mixes_scapy_with_foreign_licences():
    users = {"scapy": set(), "foreign": set()}
    for path in sorted(Path(__file__).parent.rglob("test_*.py")):
        names = re.findall(r"^\s*(?:import|from)\s+(\w+)", path.read_text("utf-8"), re.MULTILINE)
        users["scapy"] |= {path.name} if "scapy" in names else set()
        users["foreign"] |= {path.name} if set(names) & set(FOREIGN) else set()
    assert not users["scapy"] or not users["foreign"]


def loaded_by(code):
    """The top-level modules that a fresh interpreter has loaded after the code."""
    probe = f"{code}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(LIB)}
    )
    return set(done.stdout.split())


@pytest.mark.skipif("tarpit.daemon" not in SOURCES, reason="there is no tarpit daemon")
def test_the_packet_process_loads_no_scapy_and_no_web():
    loaded = loaded_by("import spamcannibal.commands.tarpit, spamcannibal.tarpit.daemon")
    assert not loaded & {"scapy", "dnslib", "flask", "rich", *FOREIGN}


def test_help_loads_neither_settings_nor_libraries_beside_click():
    loaded = loaded_by(
        "import spamcannibal.commands.main as m\n"
        "try: m.cli(['--help'], prog_name='spamcannibal')\n"
        "except SystemExit: print()"
    )
    assert not loaded & {"msgspec", "rich", "tomllib", "berkeleydb", "netfilterqueue", "dnslib", "scapy", "socket"}


def test_explain_loads_nothing_that_few_need():
    loaded = loaded_by("import spamcannibal.commands.explain")
    assert "berkeleydb" in loaded
    assert not loaded & {"rich", "json", "socket", "ctypes", "dataclasses", "difflib", "getpass", "dnslib", "flask"}


@pytest.mark.parametrize("module", ["", *(name for name in MODULES if "scapy" in outside_imports(name))])
def test_a_process_with_scapy_loads_no_apache_or_lgpl3_library(module):
    pytest.importorskip("scapy", reason="scapy is not installed")
    owners = importlib.metadata.packages_distributions()
    code = f"import scapy.all, spamcannibal.{module}" if module else "import scapy.all"
    for name in loaded_by(code):
        for owner in owners.get(name, ()):
            about = importlib.metadata.metadata(owner)
            licences = " ".join([about.get("License-Expression", ""), *(about.get_all("Classifier") or ())])
            # A choice of licences leaves one that fits.
            if not re.search(r"\bOR\b|BSD|MIT", licences):
                assert not re.search(r"Apache|LGPL.?(v|-)?3|Lesser.*v3", licences), owner
