"""The operator's process, that compares all with the cluster every two seconds, not every 300."""

from __future__ import annotations

from mopt_operator import main

COMPARE_SECONDS = 2.0

if __name__ == "__main__":
    main.COMPARE_SECONDS = COMPARE_SECONDS
    main.main()
