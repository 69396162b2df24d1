"""The simulator's own plugin is what these tests use."""

from sagas.simulate.plugin import sagas

__all__ = ["sagas"]
