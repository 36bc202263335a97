"""iptables rules of the cluster: what is added, and what removes exactly that again."""

import re
import subprocess

from .paths import BRIDGE, POD_CIDR

# This chain in the filter table proves that the KUBE-* chains are our node's.
CHAIN = "MOPT-DEVCLUSTER"
_OURS = re.compile(r"(?:MOPT-DEVCLUSTER|KUBE-[A-Z0-9-]+)$")

SETUP = f"""*filter
:{CHAIN} - [0:0]
-A {CHAIN} -i {BRIDGE} -j ACCEPT
-A {CHAIN} -o {BRIDGE} -j ACCEPT
-I FORWARD 1 -j {CHAIN}
-I INPUT 1 -i {BRIDGE} -j {CHAIN}
COMMIT
*nat
:{CHAIN} - [0:0]
-A {CHAIN} -s {POD_CIDR} ! -d {POD_CIDR} ! -o {BRIDGE} -j MASQUERADE
-A POSTROUTING -j {CHAIN}
COMMIT
"""


def chains(saved: str) -> list[tuple[str, str]]:
    """Return (table, chain) for each of ours in iptables-save's output."""
    found = []
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and _OURS.match(name := line[1:].split()[0]):
            found.append((table, name))
    return found


def removal(saved: str) -> str:
    """Render the iptables-restore input that removes our chains and the jumps to them.

    Rules of others are not even named: nothing is flushed but our own chains.

    Args:
        saved: Output of iptables-save.

    Returns:
        Input for `iptables-restore --noflush`, empty when there is nothing of ours.
    """
    ours: dict[str, list[str]] = {}
    for table, name in chains(saved):
        ours.setdefault(table, []).append(name)
    jumps: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            source = line.split()[1]
            target = re.search(r" -[jg] (\S+)", line)
            if target and _OURS.match(target[1]) and not _OURS.match(source):
                jumps.setdefault(table, []).append("-D" + line[2:])
    lines = []
    for table, names in ours.items():
        lines += [f"*{table}", *jumps.get(table, [])]
        lines += [f"-F {name}" for name in names] + [f"-X {name}" for name in names]
        lines.append("COMMIT")
    return "\n".join([*lines, ""]) if lines else ""


def save(family: str = "") -> str:
    """Return the rules now; family is "" for IPv4, "6" for IPv6."""
    command = [f"ip{family}tables-save"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return answer.stdout


def restore(rules: str, family: str = "") -> str:
    """Apply rules and return what iptables-restore complained about."""
    answer = subprocess.run(
        [f"ip{family}tables-restore", "--noflush", "--wait", "10"],
        input=rules,
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stderr.strip() if answer.returncode else ""
