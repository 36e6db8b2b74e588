"""What holds for all tests."""

import signal

from hypothesis import HealthCheck, settings

# a shell makes what it puts into the background deaf to Ctrl-C, with all that is started there
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a machine that is busy with other tests takes its time for an example, and that is no fault
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
