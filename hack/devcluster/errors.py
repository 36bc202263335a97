"""What can go wrong, split by what the reader has to do next.

DevclusterError
├── HostError        this machine lacks something: change the machine
├── ToolError        a binary could not be found, downloaded or built
├── StartError       a component did not come up: read the log it names
├── NotRunningError  the command needs a cluster that is not up
├── ImageError       an image could not be built, exported or imported
└── LeftoverError    `down` left something of ours behind
"""


class DevclusterError(Exception):
    """One line that says what was wrong and what to do."""


class HostError(DevclusterError):
    """This machine lacks something that the cluster needs."""


class ToolError(DevclusterError):
    """A binary could not be found, downloaded or built."""


class StartError(DevclusterError):
    """A component did not become healthy."""


class NotRunningError(DevclusterError):
    """The command needs a running cluster."""


class ImageError(DevclusterError):
    """An image could not be built, exported or imported."""


class LeftoverError(DevclusterError):
    """Something of ours is still on the machine after `down`."""
