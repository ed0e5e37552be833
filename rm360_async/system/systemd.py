"""Notifications to systemd (sd_notify): datagrams to the socket that $NOTIFY_SOCKET names.

The protocol is that of sd_notify(3): newline-separated assignments such as `READY=1`; a name that begins
with `@` is in Linux's abstract namespace. Without the variable every method does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

_LOG = logging.getLogger(__name__)


class Notifier:
    """Speaks to the service manager; made once, by `from_environment`.

    `watchdog_seconds` is how often `alive` is to be called (half of the watchdog's limit), or None when
    nobody watches.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self.watchdog_seconds = watchdog_seconds if address else None
        self._address = address
        self._socket: socket.socket | None = None
        self._told = False

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Return the notifier of this process, and take the variables away so that no child can speak for us."""
        address = environment.pop("NOTIFY_SOCKET", None) or None
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = limit.isascii() and limit.isdigit() and int(limit) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(limit) / 2_000_000 if watched else None)

    def ready(self) -> None:
        """Tell that the service is up."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`."""
        self._send("STATUS=" + " ".join(text.split()))

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """Tell that the service has begun to stop."""
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
                self._socket = _connected(self._address)
            self._socket.send(message.encode("utf-8", "replace"))
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        """Log the first failure only; try again with a new socket next time."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if not self._told:
            self._told = True
            _LOG.warning("cannot notify systemd at %s: %s", self._address, error.strerror or error)


def _connected(address: str) -> socket.socket:
    """Return a datagram socket that never blocks; AF_UNIX addresses only."""
    if not address.startswith(("/", "@")):
        raise OSError("this is no address of a Unix socket")
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        ours.setblocking(False)
        ours.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        ours.close()
        raise
    return ours
