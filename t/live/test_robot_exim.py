"""conf/exim/robot.conf in a real Exim: the whole mail comes in, 75 keeps it queued, 65 tells the postmaster alone."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from live.mailservers import Exim
from live.nets import ROOT, run

SETTINGS = """\
domainlist local_domains = mx.example.net
trusted_users = root
begin routers
{router}
postmaster:
  driver = accept
  transport = bounces
begin transports
{transport}
bounces:
  driver = appendfile
  file = {path}/bounces
  user = nobody
begin retry
* * F,1h,1s
"""
# Stands where sc_mailfilter does, and ends as that one would.
PROGRAM = """\
#!/bin/sh
cat > {path}/got
exit $(cat {path}/code)
"""


@pytest.fixture
def place():
    with TemporaryDirectory() as path:
        Path(path).chmod(0o777)
        yield Path(path)


def parts(path: Path) -> dict[str, str]:
    """Give router and transport as the file has them, with our program."""
    text = (ROOT / "conf/exim/robot.conf").read_text()
    router, transport = re.findall(r"^spamcannibal_robot:\n(?:  .*\n)+", text, re.MULTILINE)
    transport = transport.replace("/opt/spamcannibal/bin/sc_mailfilter", f"{path}/program")
    return {"router": router, "transport": transport.replace("user = spamcannibal", "user = nobody")}


def test_exim_keeps_what_the_robot_defers_and_tells_the_postmaster_what_it_refuses(place):
    exim = Exim(place, SETTINGS.format(path=place, **parts(place)))
    # It runs itself to deliver, and to write to the postmaster.
    config = place / "exim.conf"
    again = f"exim_path = {exim.binary}\nadd_environment = LD_LIBRARY_PATH={exim.libraries}\n"
    config.write_text(again + config.read_text())
    program = place / "program"
    program.write_text(PROGRAM.format(path=place))
    program.chmod(0o755)
    mail = "From: eve@example.org\nSubject: spam\n\n" + "the report\n" * 20_000

    def deliver(code: int) -> tuple[str, str]:
        """Deliver with this exit code of the program; give the queue, and what the postmaster got."""
        (place / "code").write_text(str(code))
        run(*exim.argv("-qff"))
        queue = run(*exim.argv("-bp")).stdout
        bounces = place / "bounces"
        return queue, bounces.read_text() if bounces.exists() else ""

    run(*exim.argv("-odq", "-f", "eve@example.org", "robot@mx.example.net"), input=mail)
    queue, bounces = deliver(75)
    assert (place / "got").exists() and "robot@mx.example.net" in queue and not bounces
    queue, bounces = deliver(65)
    assert (place / "got").read_text().endswith(mail.partition("\n\n")[2])
    assert "robot@mx.example.net" not in queue and "eve@example.org" not in queue
    queue, bounces = deliver(65)  # what it wrote is in the queue first
    assert not queue and "To: postmaster@mx.example.net" in bounces
