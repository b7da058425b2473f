r"""Manual pages from the commands' own help: a click command in, roff for man(7) out.

One page for the program and one for each command, which has its subcommands as sections. What is written in the help
as click wants it (paragraphs; `\b` before lines that are to stay as they are; "Examples:") becomes what it is in roff.
Own code, since click-man leaves out epilogs and lazily loaded commands, and does not escape.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence

import click

SECTION = 8
ENDING = """\
.SH FILES
.TP
.I /etc/spamcannibal/spamcannibal.toml
The settings; every key stands there with its default. Files in \\fIconf.d\\fR beside it override it.
.TP
.I /etc/spamcannibal/never\\-list
Who must never be listed.
.TP
.I /var/lib/spamcannibal
The database.
.SH EXIT STATUS
0 done, 1 a problem or a refusal, 2 wrong usage, 69 this host lacks something, 75 try later, 78 settings; unless said
otherwise above.
"""

# What roff takes for more than itself, or shows as something else than what can be typed.
_ESCAPES = str.maketrans({"\\": "\\(rs", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"})


def roff(text: str) -> str:
    """Escape a text so that it is shown as it is, wherever it stands."""
    return re.sub(r"^(?=\.)", r"\\&", text.translate(_ESCAPES), flags=re.MULTILINE)


def page(ctx: click.Context, about: Mapping[str, str], date: str, version: str) -> str:
    """Return the page of a context's command; `about` has every page's name and purpose, this one's too."""
    name = page_name(ctx)
    others = [other for other in about if other != name]
    text, examples = _prose(ctx)
    return "\n".join(
        [
            f'.TH {roff(name.upper())} {SECTION} "{date}" "SpamCannibal {roff(version)}" "SpamCannibal"',
            f".SH NAME\n{roff(name)} \\- {roff(about[name][:1].lower() + about[name][1:].rstrip('.'))}",
            *(".SH SYNOPSIS", *map(_synopsis, _leaves(ctx))),
            *(".SH DESCRIPTION", *text),
            *_under(".SH OPTIONS", _options(ctx)),
            *_under(".SH COMMANDS", _commands(ctx, others, about)),
            *_under(".SH EXAMPLES", examples),
            ENDING + ".SH SEE ALSO",
            ",\n".join(f"\\fB{roff(other)}\\fR({SECTION})" for other in others) + "\n",
        ]
    )


def page_name(ctx: click.Context) -> str:
    return ctx.command_path.replace(" ", "-")


def _under(heading: str, parts: Sequence[str]) -> Sequence[str]:
    return [heading, *parts] if parts else []


def _leaves(ctx: click.Context) -> Iterator[click.Context]:
    """The commands below that do something, or the context itself; the program's own stand on pages of their own."""
    if not isinstance(ctx.command, click.Group) or ctx.parent is None:
        yield ctx
        return
    if ctx.command.invoke_without_command:
        yield ctx
    for name in ctx.command.list_commands(ctx):
        found = ctx.command.get_command(ctx, name)
        if found is not None and not found.hidden:
            yield from _leaves(click.Context(found, info_name=name, parent=ctx))


def _synopsis(ctx: click.Context) -> str:
    return f".PP\n\\fB{roff(ctx.command_path)}\\fR {roff(' '.join(ctx.command.collect_usage_pieces(ctx)))}"


def _commands(ctx: click.Context, others: Sequence[str], about: Mapping[str, str]) -> list[str]:
    if ctx.parent is None:
        return [f".TP\n.BR {roff(other)} ({SECTION})\n{roff(about[other])}" for other in others]
    parts: list[str] = []
    for one in _leaves(ctx):
        if one is not ctx:
            text, examples = _prose(one)
            parts += [f".SS {roff(one.command_path)}", *text, *_options(one), *_under(".PP\nExamples:", examples)]
    return parts


def _prose(ctx: click.Context) -> tuple[list[str], list[str]]:
    """Give help and epilog as paragraphs, and the examples among them."""
    text: list[str] = []
    examples: list[str] = []
    for part in (ctx.command.help, ctx.command.epilog):
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(part or "").partition("\f")[0]):
            lines = paragraph.removeprefix("\b\n")
            if lines.startswith("Examples:\n"):
                examples.append(_verbatim(inspect.cleandoc(lines.replace("Examples:", "", 1))))
            elif lines:
                text.append(_verbatim(lines) if lines != paragraph else f".PP\n{roff(paragraph)}")
    return text, examples


def _verbatim(text: str) -> str:
    return f".PP\n.RS 2\n.nf\n{roff(text)}\n.fi\n.RE"


def _options(ctx: click.Context) -> list[str]:
    records = (param.get_help_record(ctx) for param in ctx.command.get_params(ctx))
    return [f".TP\n\\fB{roff(record[0])}\\fR\n{roff(record[1])}" for record in records if record and record[1]]
