"""The table of other programs, held to the help of those that are on this machine."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from program_usage import TABLE, options_of_entry, options_of_help
from registry import binary

ENTRIES = [(program, command) for program in TABLE for command in TABLE[program] if command]
PINNED = ("kubectl", "helm", "crane", "cosign")


def help_of(path: str, program: str, command: str) -> str:
    """Return what a program says of a subcommand; kubectl tells the general options apart."""
    asked = [[*command.split(), "--help"], *([["options"]] if program == "kubectl" else [])]
    done = [subprocess.run([path, *words], capture_output=True, text=True) for words in asked]
    assert [each.returncode for each in done] == [0] * len(done), done[0].stderr
    return "\n".join(each.stdout for each in done)


def takes(path: str, command: str, option: str) -> bool:
    """Return whether a program knows an option that its help does not name: a deprecated one. The
    call ends for want of arguments."""
    done = subprocess.run([path, *command.split(), option], capture_output=True, text=True)
    assert done.returncode
    return "deprecated" in done.stderr and f"unknown flag: {option}" not in done.stderr


def check(path: str, program: str, command: str) -> None:
    """Raise where an entry is not as the program has it."""
    text = help_of(path, program, command)
    # A subcommand that is not there shows the help of what is above it.
    assert command.split()[-1] in text.split("Flags:")[0]
    known = options_of_help(text)
    entry = options_of_entry(program, command)
    wrong = {
        n: v
        for n, v in entry.items()
        if known.get(n) is not v and (n in known or not takes(path, command, n))
    }
    assert wrong == {}


@pytest.mark.parametrize(("program", "command"), ENTRIES)
def test_the_table_is_as_the_programs_have_it(program: str, command: str) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} on PATH")
    # Without it `docker build` is the old builder, which takes no secrets.
    if command.endswith("build") and "docker buildx" not in help_of(path, program, "buildx"):
        pytest.skip("docker without buildx")
    check(path, program, command)


@pytest.mark.gitops
@pytest.mark.parametrize(("program", "command"), [e for e in ENTRIES if e[0] in PINNED])
def test_the_table_is_as_the_pinned_programs_have_it(program: str, command: str) -> None:
    """Built where they are missing."""
    check(binary(program), program, command)


@pytest.mark.gitops
def test_a_deprecated_option_is_told_from_one_that_is_not_there() -> None:
    assert takes(binary("cosign"), "sign", "--tlog-upload")
    assert not takes(binary("cosign"), "sign", "--tlog-uploads")


def test_an_option_that_is_not_there_is_found() -> None:
    text = (
        "  -f, --file string   Name\n      --quiet        Be so\n"
        "    -l, --selector='':\n    --all=false:\n"
    )
    assert options_of_help(text) == {
        "-f": True,
        "--file": True,
        "--quiet": False,
        "-l": True,
        "--selector": True,
        "--all": False,
    }
