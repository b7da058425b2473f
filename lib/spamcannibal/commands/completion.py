"""`spamcannibal completion`: what lets a shell complete our command lines; click makes and answers it."""

import click

SHELLS = ("bash", "zsh", "fish")
# click's own rule for the name: _PROGRAM_COMPLETE.
VARIABLE = "_SPAMCANNIBAL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options and choices.

    Debian's package has installed it for all three. It asks the program at each tab, so it never goes stale.

    \b
    Examples:
      spamcannibal completion bash > /etc/bash_completion.d/spamcannibal
      spamcannibal completion zsh > /usr/local/share/zsh/site-functions/_spamcannibal
      spamcannibal completion fish > ~/.config/fish/completions/spamcannibal.fish
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root.command, {}, root.info_name or "", VARIABLE).source())
