"""How far a failure is shrunk depends on tries alone, not on how many of them this machine does."""

from __future__ import annotations

from math import inf

import pytest

import sagas.simulate.shrink


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sagas.simulate.shrink, "LONGEST_S", inf)
