"""What holds for every test."""

import signal

# A shell starts what it puts into the background, such as this suite, with SIGINT ignored, and so
# would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
