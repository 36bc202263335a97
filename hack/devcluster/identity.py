"""Which process a pid file means: pure comparison of /proc facts with a record."""

import json
from dataclasses import asdict, dataclass

# Every process of a cluster carries this variable; its value is the cluster's folder.
MARKER = "MOPT_DEVCLUSTER_HOME"


@dataclass(frozen=True)
class Record:
    """A started process.

    Attributes:
        start_ticks: Field 22 of /proc/PID/stat: unique for a pid within one boot.
        boot_id: /proc/sys/kernel/random/boot_id when it was started.
    """

    name: str
    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/PID/stat that tell processes apart."""

    state: str
    parent: int
    start_ticks: int


def parse_stat(text: str) -> Stat:
    """Parse /proc/PID/stat; the command in parentheses may hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(state=fields[0], parent=int(fields[1]), start_ticks=int(fields[19]))


def is_same(record: Record, stat: Stat, boot_id: str) -> bool:
    """Say whether a live process is the recorded one, not a later one with its pid."""
    alive = stat.state not in ("Z", "X")
    return alive and stat.start_ticks == record.start_ticks and boot_id == record.boot_id


def has_marker(environ: bytes, home: str) -> bool:
    """Say whether a /proc/PID/environ belongs to the cluster in that folder."""
    return f"{MARKER}={home}".encode() in environ.split(b"\0")


def to_json(record: Record) -> str:
    """Render the text of a pid file."""
    return json.dumps(asdict(record)) + "\n"


def from_json(text: str) -> Record | None:
    """Read a pid file; None when it is torn or foreign."""
    try:
        data = json.loads(text)
        return Record(
            name=str(data["name"]),
            pid=int(data["pid"]),
            start_ticks=int(data["start_ticks"]),
            boot_id=str(data["boot_id"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
