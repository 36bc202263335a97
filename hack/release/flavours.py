"""The images of a release, and which locks each is made of: one row each."""

from __future__ import annotations

from dataclasses import dataclass

from demo.images import OPERATOR, OPTIMIZER, SERVE, Image

# The optimizer's image keeps what its source packages are built with.
_OPTIMIZER = ("build", "optimizer-cpu")


@dataclass(frozen=True)
class Flavour:
    """One image.

    Attributes:
        image: How it is built.
        locks: Files of requirements/ that its Dockerfile installs, without their suffix.
    """

    image: Image
    locks: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return what its files are called."""
        return self.image.repository.replace("/", "-")


FLAVOURS = (
    Flavour(OPERATOR, ("operator",)),
    Flavour(OPTIMIZER, _OPTIMIZER),
    Flavour(SERVE, (*_OPTIMIZER, "serve")),
)
