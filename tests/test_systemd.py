"""Notifications to systemd, over real datagram sockets."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rm360_async.system.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Stand in for systemd: the address as the variable has it, and the socket that listens there."""
    abstract = request.param == "abstract"
    address = f"@rm360-{secrets.token_hex(8)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if abstract else address)
        listening.settimeout(30)
        yield address, listening


def test_every_message_arrives(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    notifier.notify_ready()
    notifier.show_status("412/974 done,\n2 dl 87 MB/s")
    notifier.feed_watchdog()
    notifier.notify_stopping()
    notifier.close()
    told = [listening.recv(1000) for _ in range(4)]
    assert told == [b"READY=1", b"STATUS=412/974 done, 2 dl 87 MB/s", b"WATCHDOG=1", b"STOPPING=1"]


def test_child_processes_get_no_variable_to_send_notifications_with(manager: tuple[str, socket.socket]) -> None:
    environment = {
        "NOTIFY_SOCKET": manager[0],
        "WATCHDOG_USEC": "120000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/home/x",
    }
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/home/x"}
    assert notifier.watchdog_seconds == 60


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_limit_if_it_watches_this_process(
    manager: tuple[str, socket.socket], variables: dict[str, str], seconds: float | None
) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": manager[0], **variables}).watchdog_seconds == seconds


def test_without_a_socket_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "3000000"})
    notifier.notify_ready()
    notifier.show_status("x")
    notifier.notify_stopping()
    notifier.close()
    assert (notifier.watchdog_seconds, caplog.records) == (None, [])


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@nobody-listens", "vsock:2:1234", "/" + "x" * 200])
def test_a_broken_socket_is_logged_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            notifier.feed_watchdog()
    assert len(caplog.records) == 1
    assert f"cannot notify systemd at {address}: " in caplog.text


def test_a_full_socket_never_blocks_and_notifications_resume(
    manager: tuple[str, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    address, listening = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    with caplog.at_level(logging.WARNING):
        for _ in range(5000):
            notifier.feed_watchdog()
    assert len(caplog.records) == 1
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        while listening.recv(1000):
            pass
    notifier.show_status("again")
    assert listening.recv(1000) == b"STATUS=again"
    notifier.close()
