"""Fakes for tests of participants: a whole choreography on virtual time, with crashes and repeats.

The fakes pass the conformance suites like any back end.
"""

from sagas.testing.harness import Harness
from sagas.testing.virtual import VirtualLoop, run

__all__ = ["Harness", "VirtualLoop", "run"]
