from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from bowerbird.errors import Interrupted
from bowerbird.training.interrupts import StopSignal, listening

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: signal.Signals) -> None:
    """To ourselves; the handler has run when this returns."""
    os.kill(os.getpid(), number)
    for _ in range(1000):
        time.sleep(0)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_at_once(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), listening():
        send(number)


def test_no_handler_of_errors_swallows_it() -> None:
    """Libraries on the way, and ours, catch `Exception`."""
    with pytest.raises(KeyboardInterrupt), listening():
        try:
            send(signal.SIGINT)
        except Exception:
            pytest.fail("it was taken for an error")


@pytest.mark.parametrize("number", SIGNALS)
def test_deferred_finishes_the_block(number: signal.Signals) -> None:
    done = []
    with listening() as stop, pytest.raises(Interrupted), stop.deferred():
        send(number)
        assert stop.requested
        done.append("step")
    assert done == ["step"]


def test_a_second_signal_does_not_wait() -> None:
    done = []
    with listening() as stop, pytest.raises(KeyboardInterrupt), stop.deferred():
        send(signal.SIGINT)
        send(signal.SIGINT)
        done.append("step")
    assert done == []


def test_nobody_asked() -> None:
    with listening() as stop, stop.deferred():
        assert not stop.requested


def test_a_failure_in_the_block_is_not_hidden() -> None:
    with listening() as stop, pytest.raises(ValueError, match="real"), stop.deferred():
        send(signal.SIGINT)
        raise ValueError("real")


def test_after_deferred_a_signal_stops_at_once_again() -> None:
    with pytest.raises(KeyboardInterrupt), listening() as stop:
        with stop.deferred():
            pass
        send(signal.SIGTERM)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with listening() as stop:
        assert [signal.getsignal(number) for number in SIGNALS] == [stop.receive] * 2
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(KeyError), listening():
        raise KeyError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_in_another_thread_nothing_is_touched() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[object] = []

    def work() -> None:
        with listening() as stop:
            seen.append(stop.requested)
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]


def test_it_can_be_asked_without_signals() -> None:
    stop = StopSignal()
    with pytest.raises(Interrupted), stop.deferred():
        stop.receive()
