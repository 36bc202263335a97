"""Weights that are computed at each call, by weight or spectral norm, become plain parameters."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import cast

import torch
from torch import nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm

# The functions of these names hide their modules.
_WEIGHT_NORM = import_module("torch.nn.utils.weight_norm").WeightNorm
_SPECTRAL_NORM = import_module("torch.nn.utils.spectral_norm").SpectralNorm


def copied(module: nn.Module) -> nn.Module:
    """Return a copy; a weight that the last call left behind is copied as a value."""
    computed = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    }
    return copy.deepcopy(module, computed)


def fold_norms(module: nn.Module) -> None:
    """Replace normalized weights in place by what they are in eval mode, which the module is in."""
    for part in [*module.modules()]:
        if parametrize.is_parametrized(part):
            _own_class(part)
            for name in [*cast(nn.ModuleDict, part.parametrizations)]:
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        for hook in [*part._forward_pre_hooks.values()]:
            if isinstance(hook, _WEIGHT_NORM):
                remove_weight_norm(part, hook.name)
            elif isinstance(hook, _SPECTRAL_NORM):
                remove_spectral_norm(part, hook.name)


def _own_class(part: nn.Module) -> None:
    """Give a parametrized module a class of its own: a copy shares that which removing changes."""
    shared = type(part)
    held = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    part.__class__ = type(shared.__name__, shared.__bases__, held)
