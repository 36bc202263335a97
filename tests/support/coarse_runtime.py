"""Named by MOPT_EXTENSIONS: OpenVINO as a faulty version of it might be, which rounds coarsely."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mopt_api.enums import Runtime
from mopt_optimizer.runtimes.registry import RUNTIMES

if TYPE_CHECKING:
    from mopt_optimizer.runtimes import Feeds, Opening, Outputs, Runner

# Some 47 dB.
STEP = 1 / 64

RUNTIMES[Runtime.OPENVINO] = replace(RUNTIMES[Runtime.OPENVINO], open="coarse_runtime:coarse")


def coarse(opening: Opening) -> Runner:
    """Return OpenVINO with the model open, all of whose outputs are multiples of STEP."""
    from mopt_optimizer.runtimes.openvino.runner import OpenVinoRunner

    class Coarse(OpenVinoRunner):
        def run(self, feeds: Feeds) -> Outputs:
            return {
                name: (np.round(array / STEP) * STEP).astype(array.dtype)
                for name, array in super().run(feeds).items()
            }

    return Coarse(opening)
