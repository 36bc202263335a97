"""Every attempt behind a child's walls, one by one; and without them, where it gets through."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache

import attacker_all
import attacker_parent
import pytest
from attacker import Outcome, outcomes_in

from . import known
from .ground import SECRET, Done, Ground, has_privileges

pytestmark = pytest.mark.optimizer

KINDS = {"child": False, "child-with-programs": True}
CASES = [
    pytest.param(kind, name, id=f"{kind}-{name}", marks=known.marks(kind, name))
    for kind, programs in KINDS.items()
    for name in attacker_all.names(programs=programs)
]
_VICTIM = (
    "import signal, time\n"
    "for number in (signal.SIGURG, signal.SIGIO): signal.signal(number, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)

Attacked = Callable[[str], tuple[Ground, Done]]


@pytest.fixture(scope="module")
def attacked(grounds: Callable[[str], Ground]) -> Attacked:
    """Return what runs all attempts in a child, once for each kind."""

    @cache
    def attacked(kind: str) -> tuple[Ground, Done]:
        ground = grounds(kind)
        names = attacker_all.names(programs=KINDS[kind])
        plan = ground.plan(attacker_parent.WORKER, attempts=names)
        return ground, ground.attack(plan, programs=KINDS[kind])

    return attacked


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_attempt_is_refused(attacked: Attacked, kind: str, name: str) -> None:
    _, done = attacked(kind)
    outcome = done.outcomes[name]
    assert outcome.refused is not None, f"got {outcome.got}"


@pytest.mark.parametrize("kind", KINDS)
def test_parent_goes_on_unharmed(attacked: Attacked, kind: str) -> None:
    ground, done = attacked(kind)
    told = done.told
    assert (told.kind, told.answers) == ("", 1)
    assert len(done.outcomes) > 250
    assert SECRET not in done.out + done.err
    assert ground.changed() == []
    assert ground.left() == []


@pytest.fixture(scope="module")
def unwalled(grounds: Callable[[str], Ground]) -> Mapping[str, Outcome]:
    """All attempts without walls, on a process that holds keys and is nobody's parent."""
    ground = grounds("unwalled")
    environ = ground.environ()
    paths = (ground.outside, ground.readable, ground.work)
    with subprocess.Popen(
        [sys.executable, "-c", _VICTIM], env=environ, stdout=subprocess.PIPE, start_new_session=True
    ) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"ready\n"
            done = subprocess.run(
                [sys.executable, "-P", "-m", "attacker_unwalled", str(victim.pid), *paths],
                env=environ,
                cwd=ground.work,
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
                start_new_session=True,
            )
            assert victim.poll() is None
        finally:
            victim.kill()
    return outcomes_in(done.stderr)


@pytest.mark.parametrize(
    "name", [name for names in attacker_all.BY_MODULE.values() for name in names]
)
def test_without_walls_it_gets_through(unwalled: Mapping[str, Outcome], name: str) -> None:
    """What is refused in any case would prove nothing above."""
    refused = unwalled[name].refused
    if refused == "ENOSYS":
        pytest.skip("this machine's kernel has no such call")
    if refused is not None and not has_privileges():
        pytest.skip(f"only root can try it: {refused}")
    assert refused is None
