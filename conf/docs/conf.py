"""Sphinx settings of the documentation; `bin/build-docs` builds it.

Pages are Markdown (MyST). A line `<!-- generated: NAME -->` in one becomes what generated.py makes of the program
itself. Nothing is fetched, neither here nor by the browser: the theme (furo) has no web fonts and no scripts of others.
"""

import importlib.metadata
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # this folder is installed as it stands
sys.path.insert(0, str(Path(__file__).parent))

import generated  # noqa: E402
from pygments.lexers.special import TextLexer  # noqa: E402

project = "SpamCannibal"
copyright = "the SpamCannibal authors; GPL-2.0-or-later"  # Sphinx's name for it
release = importlib.metadata.version("spamcannibal")
language = "en"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 4
nitpicky = True
highlight_language = "text"

# Other programs' settings, in conf/dnsbl.md and the pages: named for whoever carries them out, shown as they stand.
PLAIN = ("exim", "knot", "named", "nsd", "postfix", "rspamd", "unbound")

html_theme = "furo"
html_title = f"SpamCannibal {release}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}


def fill(_app, _docname, source):
    """Put what is generated into a page, before it is read."""
    source[0] = re.sub(r"<!-- generated: (\w+) -->", lambda found: generated.PARTS[found[1]](), source[0])


def setup(app):
    app.connect("source-read", fill)
    for name in PLAIN:
        app.add_lexer(name, TextLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
