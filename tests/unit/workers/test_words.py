"""What several workers say of the same thing is logged once."""

from __future__ import annotations

import logging

import pytest

from resolver.workers.words import AGAIN_S, Sieve

NAME = "resolver.forward.loops"


def test_the_first_who_says_it_goes_on_saying_it(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    sieve = Sieve(lambda: now[0])
    with caplog.at_level(logging.INFO, NAME):
        for worker in (2, 1, 3, 2):
            sieve.say(worker, NAME, logging.WARNING, "upstream leads back")
        sieve.say(1, NAME, logging.INFO, "something else")
        now[0] = AGAIN_S + 1
        sieve.say(3, NAME, logging.WARNING, "upstream leads back")
    assert [record.getMessage() for record in caplog.records] == [
        "worker 2: upstream leads back",
        "worker 2: upstream leads back",
        "worker 1: something else",
        "worker 3: upstream leads back",
    ]
