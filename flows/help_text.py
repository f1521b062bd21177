"""The help of commands, as their docstrings hold it, with paragraphs that fit any terminal.

Docstrings are broken at the width of the source; a narrower terminal would break their lines once
more, and a wider one not at all. Lines that are meant as lines, those of the examples, stay.

Public: `reflow_help`.
"""

import inspect

import typer

EXAMPLES = "[bold]Example"
"""How the paragraph of examples begins."""


def reflow_help(app: typer.Typer) -> None:
    """Join the lines of each paragraph in the help of all commands that are registered so far."""
    for command in app.registered_commands:
        command.help = _reflowed(command.help or inspect.getdoc(command.callback))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _reflow_group(group.typer_instance)


def _reflow_group(app: typer.Typer) -> None:
    entrance = app.registered_callback
    if entrance is not None and entrance.callback is not None:
        entrance.help = _reflowed(entrance.help or inspect.getdoc(entrance.callback))
    reflow_help(app)


def _reflowed(text: str | None) -> str | None:
    if text is None:
        return None
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(EXAMPLES) else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
