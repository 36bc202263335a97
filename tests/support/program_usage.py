"""What the pages use of other people's programs, and how a line of a page is held to it.

The table is far less than the programs have: a page that uses more adds it here, and
test_program_tables.py holds every entry to the help of each of the programs that is on this
machine. skopeo, buildah, oras and flux are seldom there: their entries are those of skopeo 1.9,
buildah 1.28, oras 1.3 and flux 2.8.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

# Of each subcommand: how many arguments it takes, then its options; = marks those with a value.
# The options under "" may stand with every subcommand.
TABLE = {
    "kubectl": {
        "": "0-0 -n= --namespace= --context=",
        "annotate": "2- --overwrite",
        "apply": "0-0 -f= --server-side --field-manager=",
        "create": "0-0 -f=",
        "create clusterrolebinding": "1-1 --clusterrole= --serviceaccount=",
        "create configmap": "1-1 --from-file= --dry-run= -o=",
        "create secret generic": "1-1 --from-literal= --from-file=",
        "delete": "1- -l=",
        "describe": "1-",
        "diff": "0-0 -f= --server-side",
        "explain": "1-1 --recursive",
        "get": "0- -o= -A -l= --field-selector= --raw=",
        "label": "2- --all --overwrite",
        "logs": "1-2 --all-pods --tail= --previous",
        "plugin list": "0-0",
        "rollout restart": "1-",
        "rollout status": "1-",
        "wait": "1- --for= --timeout=",
    },
    "helm": {
        "": "0-0 -n= --namespace=",
        "get manifest": "1-1",
        "install": "2-2 --create-namespace --set= --set-string= --set-json= -f= --version=",
        "list": "0-0 -A",
        "package": "1-",
        "push": "2-2",
        "template": "1-2 --set=",
        "test": "1-1",
        "uninstall": "1-",
        "upgrade": "2-2 --install --set= -f= --version=",
    },
    "docker": {
        "build": "1-1 -f= -t= --build-arg= --secret= --target=",
        "buildx build": "1-1 --platform=",
        "load": "0-0 -i=",
        "push": "1-1",
        "run": "1- --gpus=",
        "save": "1- -o=",
        "tag": "2-2",
    },
    "buildah": {"bud": "0-1 -f= --build-arg= --secret="},
    "skopeo": {"copy": "2-2", "inspect": "1-1 --format="},
    "crane": {"export": "1-2", "manifest": "1-1"},
    "cosign": {
        "sign": "1- --yes --key= --use-signing-config --tlog-upload",
        "verify": "1- --key= --insecure-ignore-tlog",
        "verify-attestation": "1- --key= --insecure-ignore-tlog --type= --policy=",
        "verify-blob": "1-1 --key= --bundle= --insecure-ignore-tlog",
    },
    "oras": {
        "copy": "2-2 -r --to-oci-layout",
        "discover": "1-1 --format=",
        "pull": "1-1",
        "push": "1-",
    },
    "flux": {
        "push artifact": "1-1 --path= --source= --revision= --output=",
        "tag artifact": "1-1 --tag=",
    },
}
_ENDS = {"|", "&&", "||", ";", ">", ">>", "<", "2>", ")", "&", ">&", "|&"}
# What may stand before a program's name in a line.
_BEFORE = re.compile(r"do|then|sudo|time|[A-Za-z_]\w*=.*")


@dataclass(frozen=True)
class Call:
    """A call of a program, taken apart.

    Attributes:
        command: The subcommand, "rollout restart".
        options: With their values; None for those that have none.
        arguments: What is left.
    """

    program: str
    command: str
    options: tuple[tuple[str, str | None], ...]
    arguments: tuple[str, ...]

    def values(self, *names: str) -> list[str]:
        """Return what is given to options."""
        return [value for name, value in self.options if name in names and value is not None]


def program_calls(line: str) -> list[list[str]]:
    """Return the words of each call of a program of the table in a line, its name first."""
    lexer = shlex.shlex(line.replace("$(", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    calls, start = [], True
    for index, word in enumerate(words):
        if start and word in TABLE:
            rest = words[index + 1 :]
            end = next((i for i, w in enumerate(rest) if w in _ENDS), len(rest))
            calls.append([word, *rest[:end]])
        start = word in _ENDS or (start and _BEFORE.fullmatch(word) is not None)
    return calls


def parsed(words: list[str]) -> Call:
    """Return a call taken apart, as the program's own parser (pflag) would.

    Raises:
        AssertionError: There is no such subcommand or option, or an option lacks its value.
    """
    program, rest = words[0], list(words[1:])
    options: list[tuple[str, str | None]] = []
    everywhere = _options(TABLE[program].get("", "0-0"))
    before = _take(program, rest, everywhere, options, most=1)
    command = " ".join(before)
    longer = [name for name in TABLE[program] if name and name.split()[0] == command]
    for name in sorted(longer, key=len, reverse=True):
        if rest[: name.count(" ")] == name.split()[1:]:
            command, rest = name, rest[name.count(" ") :]
            break
    assert command in TABLE[program], f"there is no {program} {command} in the table"
    known = everywhere | _options(TABLE[program][command])
    arguments = _take(f"{program} {command}", rest, known, options)
    return Call(program, command, tuple(options), tuple(arguments))


def check_count(call: Call) -> None:
    """Raise where a call has too few arguments, or too many."""
    least, _, most = TABLE[call.program][call.command].split()[0].partition("-")
    least = "0" if call.values("--raw", "-f") else least
    assert int(least) <= len(call.arguments) <= int(most or 99), (
        f"{call.program} {call.command} takes {least} to {most or 'any'}, not {call.arguments}"
    )


def _options(entry: str) -> dict[str, bool]:
    """Return an entry's options, and whether each has a value."""
    return {name.rstrip("="): name.endswith("=") for name in entry.split()[1:]}


def _take(
    named: str,
    rest: list[str],
    known: dict[str, bool],
    options: list[tuple[str, str | None]],
    most: int | None = None,
) -> list[str]:
    """Take options and arguments off the front of rest, until there are `most` of the latter."""
    arguments: list[str] = []
    while rest and (most is None or len(arguments) < most):
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            continue
        name, equals, value = word.partition("=")
        assert name in known, f"{named} has no {name} in the table"
        if not known[name]:
            options.append((name, None))
            assert not equals or value in ("true", "false"), f"{named} {name} is a switch"
            continue
        assert equals or rest, f"{named} {name} needs a value"
        options.append((name, value if equals else rest.pop(0)))
    return arguments


# `  -f, --file string  Words` and kubectl's `  -f, --filename=[]:`.
_HELP = re.compile(
    r"^\s+(?:(?P<short>-\w), )?(?P<long>--[\w-]+)"
    r"(?:=(?P<default>.*):$|(?: (?P<kind>\S.*?))?(?:\s{2,}|$))"
)
_NONE = re.compile(r"^\s+(?P<long>-\w)(?:=(?P<default>.*):$)")


def options_of_help(text: str) -> dict[str, bool]:
    """Return the options that a program's help names, and whether each takes a value."""
    found: dict[str, bool] = {}
    for line in text.splitlines():
        if match := _HELP.match(line) or _NONE.match(line):
            parts = match.groupdict()
            if (default := parts["default"]) is not None:
                valued = default not in ("true", "false")
            else:
                valued = parts["kind"] is not None
            found |= dict.fromkeys(filter(None, (parts.get("short"), parts["long"])), valued)
    return found


def options_of_entry(program: str, command: str) -> dict[str, bool]:
    """Return the options of the table, those for every subcommand too."""
    return _options(TABLE[program].get("", "0-0")) | _options(TABLE[program][command])
