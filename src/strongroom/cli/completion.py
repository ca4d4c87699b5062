"""``strongroom completion``: the script that teaches a shell to complete."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .options import common


@click.command(short_help="print the completion script for a shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  strongroom completion bash > ~/.local/share/bash-completion/completions/strongroom
    zsh:   strongroom completion zsh > "${fpath[1]}/_strongroom"
    fish:  strongroom completion fish > ~/.config/fish/completions/strongroom.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "strongroom", "_STRONGROOM_COMPLETE")
    # Not .source(): for bash that runs bash to learn its version, which may not be installed here.
    click.echo(script.source_template % script.source_vars())
