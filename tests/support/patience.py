"""How long a test waits for what has to come: longer on a machine that does a lot besides.

A wait ends when its condition holds; the time is only for what never comes. So it costs nothing to be patient, and a
busy machine must not turn a test red.
"""

import os

MOST = 20.0


def patient(seconds: float) -> float:
    """So many seconds of a quiet machine, as this one is now."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * min(MOST, max(1.0, 2.0 * load))
