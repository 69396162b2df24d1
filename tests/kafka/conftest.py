"""What these tests share with those that need no server."""

from tests.insight.conftest import quiet

__all__ = ["quiet"]
