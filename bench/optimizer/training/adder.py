"""A recurrent network that adds two numbers from pictures of their digits, column by column."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .classifiers import CLASSES
from .digits import COLUMNS, Sums

_WIDTH = 256


class Adder(nn.Module):
    """Columns (n, columns, 2, 8, 8) from 0 to 1 to scores of the sum's digits (n, columns, 10).

    The last digits come first, so that what is carried is all that has to be remembered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.digit = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, CLASSES))
        self.cells = nn.GRU(CLASSES * CLASSES, _WIDTH, num_layers=2, batch_first=True)
        self.head = nn.Linear(_WIDTH + CLASSES * CLASSES, CLASSES)

    def read(self, columns: Tensor) -> Tensor:
        """Return scores of what each picture shows, (n, columns, 2, 10)."""
        scores: Tensor = self.digit(columns.flatten(3))
        return scores

    def added(self, read: Tensor) -> Tensor:
        """Return scores of the sum's digits, of the scores that read returned."""
        first, second = torch.softmax(read, 3).unbind(2)
        # How likely each pair is: what a column adds up to is then linear in it.
        pairs = (first[..., :, None] * second[..., None, :]).flatten(2)
        states, _ = self.cells(pairs)
        scores: Tensor = self.head(torch.cat([states, pairs], 2))
        return scores

    def forward(self, columns: Tensor) -> Tensor:
        """Return the scores."""
        return self.added(self.read(columns))


def adding_loss(network: Adder, sums: Sums) -> Tensor:
    """Return the loss of the sum's digits, and of the digits that were read.

    Of the sum alone nothing is learned for long: it says nothing of either digit.
    """
    read = network.read(sums.images)
    summed = network.added(read).flatten(0, 1)
    seen = nn.functional.cross_entropy(read[:, :COLUMNS].flatten(0, 2), sums.digits.flatten())
    return seen + nn.functional.cross_entropy(summed, sums.answers.flatten())
