"""The fewest layers whose exclusion makes a gate hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

# An excluded layer with less of the multiply-accumulates is not tried again: it gains nothing.
_WORTH = 0.01
_MOST_RETURNED = 8


def exclusion_order(noises: Sequence[float], macs: Sequence[int]) -> list[int]:
    """Return the layer indices by noise removed per INT8 multiply-accumulate lost, highest first.

    Layers without MACs cost least; ties keep graph order.
    """
    # At least one MAC, so that layers without any stay comparable by noise.
    return sorted(range(len(noises)), key=lambda index: -noises[index] / max(macs[index], 1))


def fewest_exclusions(
    order: Sequence[int],
    macs: Sequence[int],
    holds: Callable[[frozenset[int]], bool],
    ended: Callable[[], bool] = lambda: False,
) -> frozenset[int]:
    """Return a small set of layers whose exclusion makes the gates hold.

    Of those that the gates need, the few with most multiply-accumulates are tried again.

    Args:
        order: All layer indices, first to exclude at the front.
        macs: Per layer.
        holds: Whether the gates hold with these excluded; assumed true for all of them.
        ended: Whether to stop with what was found.
    """
    failing, passing = 0, len(order)
    while passing - failing > 1 and not ended():
        middle = (failing + passing) // 2
        if holds(frozenset(order[:middle])):
            passing = middle
        else:
            failing = middle
    return given_back(frozenset(order[:passing]), macs, holds, ended)


def given_back(
    chosen: frozenset[int],
    macs: Sequence[int],
    holds: Callable[[frozenset[int]], bool],
    ended: Callable[[], bool] = lambda: False,
) -> frozenset[int]:
    """Return what is left of excluded layers once the few with most multiply-accumulates were tried
    in INT8 again, one by one.

    Args:
        chosen: Indices, with which the gates hold; the rest as of fewest_exclusions.
    """
    worth = [index for index in chosen if macs[index] >= _WORTH * sum(macs)]
    for index in sorted(worth, key=lambda index: -macs[index])[:_MOST_RETURNED]:
        without = chosen - {index}
        if without and not ended() and holds(without):
            chosen = without
    return chosen
