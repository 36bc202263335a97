"""The operator's process on a node whose clock is off by the seconds in the first argument.

Every wall clock that mopt reads is times.utc_now; libraries and the log keep the node's own.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from mopt_operator import times

_SKEW = timedelta(seconds=float(sys.argv[1]))
_true_time = times.utc_now
# Before any other module takes it from there.
times.utc_now = lambda: _true_time() + _SKEW

from mopt_operator.main import main  # noqa: E402

main()
