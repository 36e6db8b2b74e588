"""What holds for all tests."""

import signal

# a shell makes what it puts into the background deaf to Ctrl-C, with all that is started there
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
