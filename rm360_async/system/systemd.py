"""Notifications to systemd (sd_notify): datagrams to the socket that $NOTIFY_SOCKET names.

The protocol is that of sd_notify(3): newline-separated assignments such as `READY=1`; a name that begins
with `@` is in Linux's abstract namespace. Without the variable every method does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class Notifier:
    """Notifies the service manager; created once, by `from_environment`.

    `watchdog_seconds` is how often `feed_watchdog` must be called (half of the watchdog's limit), or None without a
    watchdog.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds if address else None
        self._address = address
        self._socket: socket.socket | None = None
        self._has_warned = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Return the notifier of this process, and remove the variables so that no child can send notifications."""
        address = environment.pop("NOTIFY_SOCKET", None) or None
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        is_watched = limit.isascii() and limit.isdigit() and int(limit) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(limit) / 2_000_000 if is_watched else None)

    def notify_ready(self) -> None:
        """Report that the service is up."""
        self._send("READY=1")

    def show_status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def feed_watchdog(self) -> None:
        """Report that the service is alive."""
        self._send("WATCHDOG=1")

    def notify_stopping(self) -> None:
        """Report that the service has begun to stop."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket; later messages go nowhere."""
        self._address = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._address is None:
            return
        try:
            if self._socket is None:
                self._socket = _connect(self._address)
            self._socket.send(message.encode("utf-8", "replace"))
        except OSError as error:
            self._report_failure(error)

    def _report_failure(self, error: OSError) -> None:
        """Log the first failure only; the next message is sent over a new socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if not self._has_warned:
            self._has_warned = True
            log.warning("cannot notify systemd at %s: %s", self._address, error.strerror or error)


def _connect(address: str) -> socket.socket:
    """Return a datagram socket that never blocks, connected to an AF_UNIX address. Raises OSError."""
    if not address.startswith(("/", "@")):
        raise OSError("not the address of a Unix socket")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connection.setblocking(False)
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        connection.close()
        raise
    return connection
