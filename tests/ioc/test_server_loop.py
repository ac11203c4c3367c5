"""How an IOC process lives and ends, without EPICS."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cryoline.ioc import server_loop
from cryoline.ioc.server_loop import DEFECT, ServerLoop


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerLoop]:
    monkeypatch.setattr(server_loop, "begin_serving", lambda dispatcher: None)
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    server = ServerLoop("pot")
    yield server
    for number, handler in kept.items():
        signal.signal(number, handler)
    server.loop.close()


async def forever() -> int:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def test_a_server_ends_with_the_code_of_its_work_and_in_order(loop: ServerLoop) -> None:
    order = []

    async def work() -> int:
        order.append("work")
        return 1

    code = loop.run(
        work(),
        loopback_port=None,
        at_start=lambda: order.append("start"),
        at_end=lambda: order.append("end"),
    )

    assert code == 1
    assert order == ["start", "work", "end"]


def test_a_defect_is_logged_and_ends_the_server(
    loop: ServerLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> int:
        raise KeyError("Potential_RBV")

    with caplog.at_level(logging.ERROR, "cryoline.ioc"):
        assert loop.run(work(), loopback_port=None) == DEFECT

    (record,) = caplog.records
    assert record.getMessage() == "pot ends by a defect"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


def test_a_server_is_ended_from_any_thread(loop: ServerLoop) -> None:
    threading.Timer(0.05, loop.end, (3,)).start()
    assert loop.run(forever(), loopback_port=None) == 3


def test_a_server_ends_well_when_it_is_told_to(loop: ServerLoop) -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert loop.run(forever(), loopback_port=None) == 0
