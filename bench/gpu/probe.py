"""Tells the machine and its GPU as one JSON object: `python -m bench.gpu.probe`."""

from __future__ import annotations

import json
import sys

import torch

from .device import machine_facts

if __name__ == "__main__":
    json.dump(machine_facts(torch), sys.stdout)
