"""The documentation carried out: every command line of every page, in order, on a machine of its own for each page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from docskit import DOCS, ROOT, Step, carry_out, steps
from spamcannibal.dnsbl import metrics as dnsbl
from spamcannibal.gather import figures as gather
from spamcannibal.web import metrics_words as web

# What stands on a page's machine before its reader comes: the program with its settings, where nothing else is said.
PROGRAM = "install-checkout && ln -s /opt/spamcannibal/bin/spamcannibal /usr/local/sbin/\n"
SETTINGS = """\
mkdir -p /etc/spamcannibal/conf.d && cd /opt/spamcannibal/share/spamcannibal/conf
cp -r *.toml never-list generic-ptr lists.d /etc/spamcannibal/ && cp systemd/* /etc/systemd/system/ && cd "$CHECKOUT"
"""
# A mail host with Postfix, and a sender at the other end of a cable. A resolver that knows one blocklist.
MAIL_HOST = """\
ip netns add sender
ip link add eth0 type veth peer name eth0 netns sender
ip link set eth0 up && ip addr add 203.0.113.25/24 dev eth0 && ip route add 192.0.2.0/24 dev eth0
ip -n sender link set eth0 up && ip -n sender addr add 192.0.2.7/24 dev eth0
ip -n sender route add 203.0.113.0/24 dev eth0
echo 203.0.113.25 mx.example.net >>/etc/hosts
cat >/etc/postfix/main.cf <<'END'
compatibility_level = 3.6
maillog_file = /var/log/mail.log
myhostname = mx.example.net
mydestination = example.net
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
END
sed 's/^\\(\\S*  *\\S* *\\S* *\\S* *\\)y /\\1n /' /usr/share/postfix/master.cf.dist >/etc/postfix/master.cf
postfix start 2>/dev/null
PYTHONPATH=$CHECKOUT/t/helpers $PYTHON "$CHECKOUT/t/helpers/docs_resolver.py" bl.spamcop.net &
"""
ZONE = """\
cat >/etc/spamcannibal/conf.d/zone.toml <<'END'
[dnsbl]
listen = ["127.0.0.1:53"]
metrics = "127.0.0.1:9453"
[[dnsbl.zone]]
name = "bl.example.net"
text = "$ sent spam to us"
END
echo nameserver 127.0.0.1 >/etc/resolv.conf
spamcannibal list add 192.0.2.7 --text '$ sent spam to us' >/dev/null
systemctl start spamcannibal-dnsbl
"""
OLD = """\
mkdir /root/old-dbtarpit /root/old-config
PYTHONPATH=$CHECKOUT/t:$CHECKOUT/lib $PYTHON - <<'END'
import struct
from pathlib import Path
from test_legacy import contrib, write
from test_oldconf import BLACKLIST
old = Path("/root/old-dbtarpit")
write(old / "tarpit", {"203.0.113.9": struct.pack("=I", 1_600_000_000), "1.1.1.1": struct.pack("=I", 1_600_000_000)})
write(old / "archive", {"203.0.113.10": struct.pack("=I", 1_600_000_000)})
write(old / "evidence", {"203.0.113.9": b"Received: from spam\\n\\nbuy"})
write(old / "blcontrib", {"1.1.1.1": contrib()})
Path("/root/old-config/sc_BlackList.conf").write_text(BLACKLIST)
END
cd /root
"""
GATHER = """\
cat >/etc/spamcannibal/conf.d/zone.toml <<'END'
[dnsbl]
metrics = "127.0.0.1:9453"
[[dnsbl.zone]]
name = "bl.example.net"
END
systemctl start spamcannibal-dnsbl spamcannibal-gather spamcannibal-web
"""
WEB = "systemctl start spamcannibal-web\n"
NGINX = """\
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=bl.example.net -keyout /etc/ssl/bl.example.net.key \\
    -out /etc/ssl/bl.example.net.pem 2>/dev/null
rm -f /etc/nginx/sites-enabled/default
nginx
"""
# What README says to write with an editor, and the files that it takes for granted.
README = """\
mkdir -p /run/stubs /etc/spamcannibal/conf.d
cat >/run/stubs/editor <<'STUB'
#!/bin/sh
[ "$1" = /etc/spamcannibal/spamcannibal.toml ] && cat >/etc/spamcannibal/conf.d/site.toml <<'END'
[tarpit]
mode = "observe"
[[dnsbl.zone]]
name = "bl.example.net"
[remote]
lists = ["bl.spamcop.net"]
resolvers = ["127.0.0.1"]
END
exit 0
STUB
chmod 755 /run/stubs/editor
useradd -r spamcannibal
"""
PREPARED = {
    "README": MAIL_HOST + README,
    "api.md": PROGRAM + SETTINGS + WEB,
    "first-tarpit.md": PROGRAM,
    "mail-server.md": MAIL_HOST,
    "listed.md": PROGRAM + SETTINGS + ZONE,
    "metrics.md": PROGRAM + SETTINGS + GATHER,
    "moving.md": PROGRAM + SETTINGS + OLD,
    "web.md": PROGRAM + SETTINGS + NGINX,
}
# Exit codes that README does not say: somebody is listed.
README_CODES = {r"spamcannibal (explain|dnsbl query) .*": 1}
# Lines of README that are not run here, and where they are.
README_ELSEWHERE = {
    r"spamcannibal up": "first-tarpit.md; it stays until Ctrl-C",
    r"spamcannibal robot (key import|--dry-run) .*": "t/test_robot.py; they need a submitter's key and a signed mail",
}
PAGES = {page.name: page for page in sorted(DOCS.glob("*.md")) if steps(page.read_text("utf-8"))}


def steps_of(name: str) -> list[Step]:
    if name != "README":
        return steps(PAGES[name].read_text("utf-8"))
    found = [
        step
        for step in steps((ROOT / name).read_text("utf-8"))
        if not any(re.fullmatch(pattern, bare(step.command)) for pattern in README_ELSEWHERE)
    ]
    for step in found:
        step.code = next((code for line, code in README_CODES.items() if re.fullmatch(line, bare(step.command))), 0)
    return found


def bare(command: str) -> str:
    """A command without the remark behind it."""
    return re.sub(r"\s+#.*", "", command)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[Step]]]]:
    """All pages carried out, some at a time: they wait more than they work."""

    def carried_out(name: str) -> list[Step]:
        found = steps_of(name)
        carry_out(found, PREPARED.get(name, PROGRAM + SETTINGS), folders[name])
        return found

    folders = {name: tmp_path_factory.mktemp(name.partition(".")[0]) for name in ("README", *PAGES)}
    longest_first = sorted(folders, key=lambda name: -len(steps_of(name)))
    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(carried_out, name) for name in longest_first}


@pytest.mark.parametrize("name", ["README", *PAGES])
def test_a_page_does_what_it_says(name: str, done: dict[str, Future[list[Step]]]) -> None:
    found = done[name].result()
    assert found
    assert not [told(name, step) for step in found if step.wrong()]


def test_the_metrics_that_are_told_are_those_that_are_served(done: dict[str, Future[list[Step]]]) -> None:
    """Of the web's some have no sample before something has happened."""
    printed = {step.command: step.printed for step in done["metrics.md"].result() if "/metrics" in step.command}
    served = [set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) for text in printed.values()]
    assert served[0] == {dnsbl.PREFIX + name for name in dnsbl._HELP}
    assert served[1] == {gather.PREFIX + name for name in gather.HELP}
    assert served[2] and served[2] <= {web.PREFIX + name for name in web.HELP}


def told(name: str, step: Step) -> str:
    return f"{name}:{step.line}: {step.command.splitlines()[0]}: {step.wrong()}\n{step.printed}"
