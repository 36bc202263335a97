"""Every `mopt` command of the pages exists, with the options that it is given."""

from __future__ import annotations

import enum
import importlib.util
import re
import shlex
from typing import cast

import pytest
import typer
from doc_pages import ROOT, Block, blocks, page_names, spans
from typer.core import TyperArgument, TyperOption

from reference.cli import commands

COMMANDS = commands()
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
# Of every command, or of the program.
_OF_ALL = {"--help", "--install-completion", "--show-completion", "--version"}
_ENDS = {"|", "&&", "||", ";", ">", ">>", "<", "2>", ")", "&"}


def command_lines(text: str) -> list[str]:
    """Return a block's commands: what follows a prompt, or where there is none every line."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return prompted or lines


def mopt_calls(line: str) -> list[list[str]]:
    """Return the arguments of each call of mopt in a line, as kubectl's plugin too."""
    lexer = shlex.shlex(line.replace("$(", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    calls, start = [], True
    for index, word in enumerate(words):
        here = word == "mopt" or word.endswith("/bin/mopt")
        if here and (start or words[index - 1] == "kubectl"):
            rest = words[index + 1 :]
            end = next((i for i, w in enumerate(rest) if w in _ENDS), len(rest))
            calls.append([w for w in rest[:end] if w != "..."])
        start = word in _ENDS
    return calls


def check(arguments: list[str]) -> None:
    """Raise what the program would say of arguments; nothing is opened and nothing run."""
    name, *given = arguments
    assert name in COMMANDS, f"there is no mopt {name}"
    command = COMMANDS[name]
    values, rest, _ = command.make_parser(typer.Context(command)).parse_args(list(given))
    assert rest == [], f"mopt {name} takes no {rest}"
    for parameter in command.params:
        value = values.get(parameter.name)
        assert value or not parameter.required, f"mopt {name} needs {parameter.name}"
        kind = cast("TyperArgument | TyperOption", parameter).type_descriptor.annotation
        if isinstance(value, str) and isinstance(kind, type) and issubclass(kind, enum.Enum):
            choices = {str(member.value).lower() for member in kind}
            assert value.lower() in choices, f"mopt {name}: {value} is none of {sorted(choices)}"


CALLS = [
    pytest.param(call, id=f"{block}: mopt {' '.join(call)}"[:90])
    for block in blocks("console", "sh", "bash")
    for line in command_lines(block.text)
    if "mopt" in line
    for call in mopt_calls(line)
]


@pytest.mark.parametrize("call", CALLS)
def test_commands_of_the_pages_are_accepted(call: list[str]) -> None:
    check(call)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("mopt wath model", "no mopt wath"),
        ("mopt watch", "needs name"),
        ("mopt watch one two", "takes no"),
        ("kubectl get x -o json | mopt table --fromat json", "--fromat"),
        ("mopt export a --as tritn -o b", "tritn"),
    ],
)
def test_a_wrong_command_is_found(line: str, said: str) -> None:
    (call,) = mopt_calls(line)
    with pytest.raises(Exception, match=said):
        check(call)


@pytest.mark.parametrize("page", page_names())
def test_commands_in_sentences_have_the_options_that_they_name(page: str) -> None:
    wrong = []
    for span in spans(page):
        name, *given = span.removeprefix("kubectl ").split(maxsplit=2)[1:] or [""]
        if not re.match(r"(?:kubectl )?mopt (?!COMMAND\b)\S", span):
            continue
        options = set(_OPTION.findall(" ".join(given)))
        known = _OF_ALL | {o for p in getattr(COMMANDS.get(name), "params", ()) for o in p.opts}
        if name.startswith("-"):
            wrong += [span] if name not in _OF_ALL else []
        elif name not in COMMANDS or options - known:
            wrong.append(span)
    assert wrong == []


def test_blocks_with_commands_are_found() -> None:
    pages = {str(p.id).partition(":")[0] for p in CALLS}
    assert {"README.md", "docs/cli.md", "docs/gitops.md", "docs/recommend.md"} <= pages
    block = Block("page", 1, "console", "$ mopt get \\\n  -A\nNAME  READY\n", excerpt=False)
    assert [mopt_calls(line) for line in command_lines(block.text)] == [[["get", "-A"]]]


MAKE_TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
TEST_PARTS = set(re.findall(r"^    ([a-z-]+)\) ", (ROOT / "hack/test").read_text(), re.MULTILINE))


def project_calls(line: str) -> list[str]:
    """Return what a line calls of the repository and there is not."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []  # A sentence's apostrophe: no command.
    # A variable before a command is the command's.
    words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    if words[:1] == ["make"]:
        return [w for w in words[1:] if re.fullmatch(r"[a-z-]+", w) and w not in MAKE_TARGETS]
    if words[:1] == ["hack/test"]:
        return [p for w in words[1:] for p in w.split("+") if p not in TEST_PARTS]
    if words[:1] == [".venv/bin/python"] and "-m" in words:
        name = words[words.index("-m") + 1]
        there = importlib.util.find_spec(name) if name.split(".")[0] in ("bench", "hack") else True
        return [] if there else [name]
    files = (w for w in words[1:2] if words[0] in (".venv/bin/python", "python3", "kubectl"))
    return [f for f in files if f.endswith(".py") and not (ROOT / f).exists()]


@pytest.mark.parametrize("page", page_names())
def test_what_pages_run_of_the_repository_is_there(page: str) -> None:
    lines = [
        line
        for block in blocks("console", "sh", "bash")
        if block.page == page
        for line in command_lines(block.text)
    ]
    assert [fault for line in (*lines, *spans(page)) for fault in project_calls(line)] == []


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("make demo", []),
        ("make tset-full", ["tset-full"]),
        ("COSIGN_KEY=k make dist IMAGES=1 # signed", []),
        ("hack/test fast+cluster alerts", []),
        ("hack/test fast+clutser", ["clutser"]),
        (".venv/bin/python -m bench.operator.no_such", ["bench.operator.no_such"]),
    ],
)
def test_a_call_of_what_is_not_there_is_found(line: str, missing: list[str]) -> None:
    assert project_calls(line) == missing
