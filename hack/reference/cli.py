"""docs/reference/cli.md: every command with its arguments and options, as `--help` has them."""

from __future__ import annotations

import inspect
from typing import cast

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from mopt_cli.main import app
from reference.markdown import GENERATED, code, prose, table

_INTRO = """
# Command line reference

What `mopt COMMAND --help` prints, for all commands. How they are used, with examples, exit statuses
and the permissions that they need, is told in [the command line](../cli.md). `kubectl mopt` is the
same program.
"""


def commands() -> dict[str, TyperCommand]:
    """Return the program's commands by name, sorted."""
    group = cast("TyperGroup", typer.main.get_command(app))
    return {name: cast("TyperCommand", group.commands[name]) for name in sorted(group.commands)}


def cli_reference() -> str:
    """Return the page."""
    sections = [_section(command, f"mopt {name}") for name, command in commands().items()]
    return "".join([GENERATED.format(source="cli/mopt_cli"), _INTRO, *sections])


def _section(command: TyperCommand, name: str) -> str:
    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    lines = [f"\n## {name}\n", f"```text\n{usage}\n```\n", *(f"{prose(p)}\n" for p in paragraphs)]
    groups: dict[str, list[tuple[str, str]]] = {"Argument": [], "Option": []}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            kind = "Argument" if isinstance(parameter, TyperArgument) else "Option"
            groups[kind].append((code(record[0]), prose(record[1])))
    for kind, rows in groups.items():
        if rows:
            lines.append(table((kind, "Meaning"), rows))
    return "\n".join(lines)
