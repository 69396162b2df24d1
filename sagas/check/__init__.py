"""The static check: what a choreography's declarations allow, explored before anything runs."""

from sagas.check.checking import Report, check
from sagas.check.explore import TooManyStates, explore
from sagas.check.finding import CODES, Finding, Happening, Place, Severity
from sagas.check.model import Model
from sagas.check.never import Never

__all__ = [
    "CODES",
    "Finding",
    "Happening",
    "Model",
    "Never",
    "Place",
    "Report",
    "Severity",
    "TooManyStates",
    "check",
    "explore",
]
