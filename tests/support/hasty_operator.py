"""The operator's process with a Lease that runs out sooner, for tests that lose many leaders."""

from __future__ import annotations

from mopt_operator.cluster import election

DURATION_SECONDS = 5

if __name__ == "__main__":
    from mopt_operator.main import main

    election.DURATION_SECONDS = DURATION_SECONDS
    election.DEADLINE_SECONDS = DURATION_SECONDS - 1.0
    election.RENEW_SECONDS = election.WAIT_SECONDS = 0.5
    main()
