"""The documentation carried out: every command line of every page, in order, on a machine of its own for each page."""

from __future__ import annotations

from pathlib import Path

import pytest

from docskit import DOCS, Step, carry_out, steps

# What stands on a page's machine before its reader comes; without an entry the program is installed.
INSTALLED = "install-checkout; ln -s /opt/spamcannibal/bin/spamcannibal /usr/local/sbin/"
PREPARED: dict[str, str] = {}


PAGES = {page.name: page for page in sorted(DOCS.glob("*.md")) if steps(page.read_text("utf-8"))}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_says(name: str, tmp_path: Path) -> None:
    found = steps(PAGES[name].read_text("utf-8"))
    carry_out(found, PREPARED.get(name, INSTALLED), tmp_path)
    assert not [told(name, step) for step in found if step.wrong()]


def told(name: str, step: Step) -> str:
    return f"{name}:{step.line}: {step.command.splitlines()[0]}: {step.wrong()}\n{step.printed}"
