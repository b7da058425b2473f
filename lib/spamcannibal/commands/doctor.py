"""`spamcannibal doctor`: look this host over; each finding with its cure."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.commands.common import config_path, json_option, printable, progress

if TYPE_CHECKING:
    from spamcannibal.doctor.finding import Finding
    from spamcannibal.settings import Settings

STYLES = {"ok": "green", "unknown": "cyan", "warning": "yellow", "bad": "bold red"}


@click.command()
@click.option("--deep", is_flag=True, help="Ask the remote lists too, instead of what their last tests found.")
@click.option(
    "--exports", metavar="FILE", multiple=True, type=click.Path(), help="Judge the figures of an export, too."
)
@json_option
@click.pass_context
def command(ctx: click.Context, deep: bool, exports: tuple[str, ...], as_json: bool) -> None:
    """Check what the settings use: kernel, rules, queue, database, DNS, lists, clock, jobs; each with its cure.

    A finding is ok, a warning, bad, or unknown: what can't be told is never called ok. Much of it only root may see.
    Nothing is changed; --deep remembers what it learns of the lists. Exit 1 if anything is bad, else 0.

    \b
    Examples:
      spamcannibal doctor
      spamcannibal doctor --deep --exports /var/lib/node_exporter/sc-rbldnsd.prom
      spamcannibal doctor --json | jq '.[] | select(.state == "bad")'
    """
    # Imported here, since --help needs neither the database's library nor all the rest.
    from spamcannibal.doctor.finding import exit_code

    findings: list[Finding] = []
    with progress(None, "Looking") as step:
        for finding in _examine(ctx, deep, exports):
            findings.append(finding)
            step(1)
    if as_json:
        click.echo(json.dumps([_row(finding) for finding in findings], indent=2))
    else:
        _say(findings)
    ctx.exit(exit_code(findings))


def _examine(ctx: click.Context, deep: bool, exports: Sequence[str]) -> Iterator[Finding]:
    import os

    from spamcannibal.commands.doctor_checks import settings_problems
    from spamcannibal.config import read
    from spamcannibal.doctor.finding import Finding, State

    reading = read(config_path(ctx), os.environ)
    if reading.settings is None:
        for problem in reading.problems:
            yield Finding("settings", State.BAD, problem, "mend it; `spamcannibal config check` tells all")
        return
    files = ", ".join(map(str, reading.files)) or "defaults only"
    problems = settings_problems(reading.settings)
    for problem in problems:
        yield Finding("settings", State.BAD, problem, "mend the file that it names")
    if not problems:
        yield Finding("settings", State.OK, files)
    yield from _all(ctx, reading.settings, deep, exports)


def _all(ctx: click.Context, settings: Settings, deep: bool, exports: Sequence[str]) -> Iterator[Finding]:
    """Yield the findings about everything that the settings use."""
    from spamcannibal.commands import doctor_checks as checks
    from spamcannibal.doctor import outlets
    from spamcannibal.doctor.host import told

    now, enabled = time.time(), settings.services.enabled
    yield checks.never_list(settings)
    yield checks.clock()
    with checks.opened(settings) as store:
        yield from _part("store", checks.store(settings, store, now))
        if "tarpit" in enabled:
            yield from _part("packets", checks.packet_path(settings))
        if "dnsbl" in enabled:
            yield from _part("dns", checks.dnsbl(settings, store))
    yield from _part("remote", checks.remote(settings, deep, now))
    yield from _part("jobs", checks.jobs(settings, now))
    if "gather" in enabled:
        yield from _part("gather", checks.gather(settings))
    if "follow" in enabled:
        yield from _part("follow", checks.follow(settings))
    if "robot" in enabled or settings.robot.key or settings.robot.submitter:
        yield from _part("robot", checks.robot(settings, config_path(ctx), now))
    for file in exports:
        yield from outlets.judge(file, told(partial(Path(file).read_text, "utf-8", "replace")), now)


def _part(name: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings of a part; what it could not look at is unknown, and the other parts go on."""
    from spamcannibal.doctor.finding import Finding, State
    from spamcannibal.errors import SpamCannibalError

    try:
        yield from findings
    except SpamCannibalError as error:
        yield Finding(name, State.UNKNOWN, str(error), "run it again")


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "state": finding.state.name.lower(),
        "found": finding.found,
        "cure": finding.cure or None,
    }


def _say(findings: Sequence[Finding]) -> None:
    """Print a line a finding, and below it the cure."""
    width = max(len(finding.check) for finding in findings)
    counts = dict.fromkeys(reversed(STYLES), 0)
    for finding in findings:
        state = finding.state.name.lower()
        counts[state] += 1
        mark = click.style(f"{state:8}", **_style(state)) if sys.stdout.isatty() else f"{state:8}"
        click.echo(f"{mark} {finding.check:{width}}  {printable(finding.found)}")
        if finding.cure:
            click.echo(f"{'':8} {'':{width}}  cure: {printable(finding.cure)}")
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items() if count))


def _style(state: str) -> dict[str, Any]:
    words = STYLES[state].split()
    return {"fg": words[-1], "bold": len(words) > 1}
