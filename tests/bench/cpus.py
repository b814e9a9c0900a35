"""Which CPUs run what: the Envoys under test have the first one for themselves, if there are more.

A process gets the CPUs of the one that starts it, with all the threads that it will have.
"""

import contextlib
import os

ALL = sorted(os.sched_getaffinity(0))
UNDER_TEST = ALL[0]


def under_test():
    return starting_on([UNDER_TEST])


def beside():
    return starting_on(ALL[1:])


def are_pinned():
    return len(ALL) > 1


@contextlib.contextmanager
def starting_on(chosen):
    if not are_pinned():
        yield
        return
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL)
