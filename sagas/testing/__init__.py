"""Fakes and fixtures for tests of participants; the fakes pass the conformance suites."""
