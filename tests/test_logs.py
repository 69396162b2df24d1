"""The log of requests: every line, and never a wait for whoever reads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sagas.logs import Unhurried


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def logger_to(descriptor: int, most: int = 1_000) -> tuple[logging.Logger, Unhurried]:
    logger, handler = logging.Logger("requests"), Unhurried(descriptor, most=most)
    logger.addHandler(handler)
    return logger, handler


def read_until(descriptor: int, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += os.read(descriptor, 65_536)
    return found


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"." * 4_096)
    os.set_blocking(descriptor, True)


def test_lines_are_written_in_their_order(pipe: tuple[int, int]) -> None:
    logger, handler = logger_to(pipe[1])
    for number in range(100):
        logger.info("line %d", number)
    handler.flush()
    found = read_until(pipe[0], b"line 99\n")
    assert found == b"".join(b"line %d\n" % number for number in range(100))


def test_nobody_waits_for_a_reader_who_reads_nothing(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    logger, handler = logger_to(pipe[1], most=10)
    for number in range(1_000):
        logger.info("line %d", number)
    read_until(pipe[0], b"lines are left out: this was not read in time)\n")
    handler.flush()
    logger.info("the last")
    read_until(pipe[0], b"the last\n")


def test_a_reader_who_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    logger, handler = logger_to(writing)
    os.close(reading)
    try:
        for number in range(10):
            logger.info("line %d", number)
            handler.flush()
        assert handler.is_broken
    finally:
        os.close(writing)


def test_a_pipe_that_does_not_block_loses_nothing(pipe: tuple[int, int]) -> None:
    """Whoever shares the terminal may have made it so."""
    os.set_blocking(pipe[1], False)
    logger, handler = logger_to(pipe[1], most=10_000)
    for number in range(5_000):
        logger.info("line %d, which is as long as lines of a log are", number)
    found = read_until(pipe[0], b"line 4999, which is as long as lines of a log are\n")
    assert found.count(b"\n") == 5_000
    assert not handler.is_broken
