"""What holds for every test."""

import signal

from hypothesis import settings

# How long an example takes is a matter of the machine, and of what else runs on it.
settings.register_profile("mopt", deadline=None)
settings.load_profile("mopt")

# A shell starts what it puts into the background, such as this suite, with SIGINT ignored, and so
# would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
