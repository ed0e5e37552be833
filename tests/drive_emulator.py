"""A small Google Drive (API v3, read only) on loopback, for the real rclone.

One listening socket plays an HTTP proxy: a CONNECT to a Google name is answered with 200, and TLS is then
spoken on that very socket under that name, with a certificate of a throw-away CA. So resets and stalls reach
rclone untouched, and nothing leaves loopback. `Drive.env()` is what makes rclone believe it.

A folder on disk is the drive's content; `a.smc~2` is a second file named `a.smc`. Faults are `Rule`s; the
first one that applies answers. `Drive.log` has one `Request` per request, with the bytes of body sent.
"""

from __future__ import annotations

import datetime
import fcntl
import fnmatch
import functools
import hashlib
import ipaddress
import json
import math
import re
import socket
import socketserver
import ssl
import struct
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOSTS = ("www.googleapis.com", "oauth2.googleapis.com", "accounts.google.com")
FOLDER = "application/vnd.google-apps.folder"
ROOT_ID = "ROOT-FOLDER"
SLICE = 1 << 16

REFUSALS = {
    "userRateLimitExceeded": (403, "User Rate Limit Exceeded"),
    "rateLimitExceeded": (429, "Quota exceeded for quota metric 'Queries'"),
    "dailyLimitExceeded": (403, "Daily Limit Exceeded"),
    "downloadQuotaExceeded": (403, "The download quota for this file has been exceeded."),
    "cannotDownloadAbusiveFile": (403, "This file has been identified as malware or spam and cannot be downloaded."),
    "insufficientFilePermissions": (403, "The user does not have sufficient permissions for this file."),
    "cannotDownloadFile": (403, "This file cannot be downloaded by the user."),
    "notFound": (404, "File not found: ."),
    "authError": (401, "Invalid Credentials"),
    "internalError": (500, "Internal Error"),
    "backendError": (503, "Service Unavailable"),
}
"""Refusals as Google words them: reason to (status, message)."""


@dataclass
class Rule:
    """One fault.

    `kind`: a reason of REFUSALS, `flagged` (refused until the abuse is acknowledged), `invalid_grant` (op
    token), or in a body, at byte `at` of the file: `reset`, `close` (full Content-Length, early end), `stall`,
    `short` (a Content-Length that lies too), `corrupt`, or `slow` (`bps`), `latency` (`seconds`),
    `ignore_range`, `wrong_md5`, `hidden`, `incomplete` (op list).
    `op`: list, get, media, token or any; `path`: fnmatch on the drive path; `account`: whose token.
    `skip`: how many requests pass first; `times`: how often it then applies, -1 for ever.
    """

    kind: str
    op: str = "media"
    path: str = "*"
    account: str = "*"
    at: int = 0
    bps: int = 0
    seconds: float = 0.0
    skip: int = 0
    times: int = -1


@dataclass
class Request:
    """What was asked, and how many bytes of body went out; `began` and `ended` by the monotonic clock."""

    op: str
    path: str
    account: str
    start: int = 0
    end: int = 0
    status: int = 0
    sent: int = 0
    began: float = field(default_factory=time.monotonic)
    ended: float = math.inf


@dataclass
class _Node:
    id: str
    name: str
    path: str
    parent: str
    file: Path
    children: list[_Node] = field(default_factory=list)


class Drive:
    """The drive, its log and its faults; started by `serve`."""

    def __init__(self, content: Path, state: Path, accounts: tuple[str, ...] = ("gdrive", "gdrive2")) -> None:
        self.content, self.state, self.accounts = content, state, accounts
        self.rules: list[Rule] = []
        self.log: list[Request] = []
        self.stopping = threading.Event()
        self.stalled = threading.Event()
        self.lock = threading.Lock()
        self.line_rate = 0.0
        """Bytes a second of all bodies together: the width of the line; 0 for no limit."""
        self.max_bodies = 0
        """Bodies at once, above which a further one is refused with a rate limit; 0 for no limit."""
        self.bodies = self.most_bodies = 0
        self._line_free_at = 0.0
        self.port = 0
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.tls = _certificates(state)
        self.config = state / "rclone.conf"
        self.write_config()

    def write_config(self, expiry: str = "2099-01-01T00:00:00Z") -> None:
        """Write rclone.conf; an `expiry` in the past makes rclone ask for a token first."""
        sections = []
        for name in self.accounts:
            token = {"access_token": f"at-{name}", "token_type": "Bearer", "refresh_token": f"rt-{name}"}
            token["expiry"] = expiry
            sections.append(f"[{name}]\ntype = drive\nscope = drive.readonly\ntoken = {json.dumps(token)}\n")
        self.config.write_text("\n".join(sections))

    def line_wait(self, size: int) -> float:
        """Return the seconds until the line has carried `size` more bytes, beside those that it has still to carry."""
        if not self.line_rate:
            return 0.0
        with self.lock:
            now = time.monotonic()
            self._line_free_at = max(now, self._line_free_at) + size / self.line_rate
            return self._line_free_at - now

    def begin_body(self) -> bool:
        """Count a body; return False if it is one too many."""
        with self.lock:
            if self.max_bodies and self.bodies >= self.max_bodies:
                return False
            self.bodies += 1
            self.most_bodies = max(self.most_bodies, self.bodies)
            return True

    def end_body(self) -> None:
        """Count a body that has ended."""
        with self.lock:
            self.bodies -= 1

    def reset(self) -> None:
        """Forget all faults and requests."""
        self.rules.clear()
        self.log.clear()
        self.stalled.clear()
        self.line_rate, self.max_bodies, self.most_bodies = 0.0, 0, 0
        self.write_config()

    def come_up(self) -> None:
        """Accept connections, on the same port as ever."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def go_down(self) -> None:
        """Refuse connections; what is under way goes on."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = self._thread = None

    def env(self) -> dict[str, str]:
        """Return the variables that lead rclone here."""
        proxy = f"http://127.0.0.1:{self.port}"
        ca = str(self.state / "ca.pem")
        return {"HTTPS_PROXY": proxy, "RCLONE_CONFIG": str(self.config), "RCLONE_CA_CERT": ca}

    def media(self, path: str = "*") -> list[Request]:
        """Return the downloads asked for so far, of one path."""
        return [request for request in self.log if request.op == "media" and fnmatch.fnmatch(request.path, path)]

    def rule(self, request: Request, *kinds: str) -> Rule | None:
        """Return the first rule that applies (of some kinds, or of those that are refusals)."""
        with self.lock:
            for rule in self.rules:
                fits = rule.kind in (kinds or REFUSALS) and rule.op in (request.op, "any") and rule.times != 0
                if rule.at and request.op == "media":
                    fits = fits and request.start <= rule.at < request.end
                if fits and fnmatch.fnmatch(request.path, rule.path) and fnmatch.fnmatch(request.account, rule.account):
                    if rule.skip:
                        rule.skip -= 1
                        continue
                    rule.times -= rule.times > 0
                    return rule
        return None

    def tree(self) -> dict[str, _Node]:
        """Return the content by id."""
        root = _Node(ROOT_ID, "", "", "", self.content)
        nodes = {ROOT_ID: root}
        for file in sorted(self.content.rglob("*")):
            relative = file.relative_to(self.content)
            parent = folder_id(relative.parent)
            name = file.name.split("~")[0]
            path = "/".join((*relative.parent.parts, name))
            node = _Node(folder_id(relative), name, path, parent, file)
            nodes[node.id] = node
            nodes[parent].children.append(node)
        return nodes


def folder_id(relative: Path) -> str:
    return ROOT_ID if relative == Path() else "id-" + hashlib.sha1(str(relative).encode()).hexdigest()[:20]


class _Connection(socketserver.BaseRequestHandler):
    """One proxied connection: CONNECT, TLS, then requests until either side is done."""

    server: _Server

    def handle(self) -> None:
        try:
            self._talk()
        except (OSError, ValueError):
            pass  # the client left, or a rule ended the connection
        finally:
            self.request.close()

    def _talk(self) -> None:
        drive = self.server.drive
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            got = self.request.recv(1)
            if not got:
                return
            head += got
        verb, target = head.split(b" ")[:2]
        if verb != b"CONNECT" or target.split(b":")[0].decode() not in HOSTS:
            self.request.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        self.request = drive.tls.wrap_socket(self.request, server_side=True)
        with self.request.makefile("rb") as reader:
            while (line := reader.readline()) and not drive.stopping.is_set():
                _Answer(drive, self.request, line.decode(), reader).give()


class _Answer:
    """The answer to one request."""

    def __init__(self, drive: Drive, connection: ssl.SSLSocket, line: str, reader: BinaryIO) -> None:
        self.drive, self.connection = drive, connection
        self.headers = {}
        while header := reader.readline().decode().strip():
            key, _, value = header.partition(":")
            self.headers[key.lower()] = value.strip()
        self.body = reader.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(line.split(" ")[1])
        self.path, self.query = url.path, {key: values[0] for key, values in parse_qs(url.query).items()}
        self.account = self.headers.get("authorization", "").removeprefix("Bearer at-")
        self.nodes = drive.tree()

    def give(self) -> None:
        """Send the answer that the rules and the content give."""
        request = self._request()
        self.drive.log.append(request)
        if late := self.drive.rule(request, "latency"):
            self.drive.stopping.wait(late.seconds)
        if request.op == "token":
            self._token(request)
        elif refusal := self.drive.rule(request):
            self._refuse(request, refusal.kind)
        elif "acknowledgeAbuse" not in self.query and self.drive.rule(request, "flagged"):
            self._refuse(request, "cannotDownloadAbusiveFile")
        elif request.op == "list":
            self._list(request)
        else:
            self._one(request)

    def _request(self) -> Request:
        if self.path == "/token":
            return Request("token", "", parse_qs(self.body.decode())["refresh_token"][0].removeprefix("rt-"))
        if self.path.rstrip("/").endswith("/files"):
            folders = [self.nodes[parent].path for parent in self._parents() if parent in self.nodes]
            return Request("list", ",".join(folders), self.account)
        node = self.nodes.get(self._id())
        return Request("media" if self.query.get("alt") == "media" else "get", node.path if node else "", self.account)

    def _id(self) -> str:
        identity = self.path.rsplit("/", 1)[-1]
        return ROOT_ID if identity == "root" else identity

    def _parents(self) -> list[str]:
        named = re.findall(r"'([\w-]+)' in parents", self.query.get("q", ""))
        return [ROOT_ID if parent == "root" else parent for parent in named]

    def _token(self, request: Request) -> None:
        if self.drive.rule(request, "invalid_grant"):
            said = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            self._json(request, 400, said)
        elif refusal := self.drive.rule(request):
            self._refuse(request, refusal.kind)
        else:
            self._json(
                request, 200, {"access_token": f"at-{request.account}", "token_type": "Bearer", "expires_in": 3600}
            )

    def _refuse(self, request: Request, reason: str) -> None:
        status, message = REFUSALS[reason]
        errors = [{"domain": "global", "reason": reason, "message": message}]
        self._json(request, status, {"error": {"errors": errors, "code": status, "message": message}})

    def _list(self, request: Request) -> None:
        parents = self._parents()
        if missing := [parent for parent in parents if parent not in self.nodes]:
            request.path = missing[0]
            self._refuse(request, "notFound")
            return
        found = [child for parent in parents for child in self.nodes[parent].children]
        if "sharedWithMe" in self.query.get("q", ""):  # whatever the parent is
            found = list(self.nodes[ROOT_ID].children)
        elif "starred=true" in self.query.get("q", "") or "driveId" in self.query:  # nothing is starred, or elsewhere
            found = []
        found = [child for child in found if not self.drive.rule(self._about(child), "hidden")]
        said: dict[str, Any] = {"files": [self._described(child) for child in found]}
        if self.drive.rule(request, "incomplete"):
            said = {"files": [], "incompleteSearch": True}
        self._json(request, 200, said)

    def _described(self, node: _Node) -> dict[str, Any]:
        stamp = datetime.datetime.fromtimestamp(node.file.stat().st_mtime, datetime.timezone.utc)
        said: dict[str, Any] = {"id": node.id, "name": node.name, "parents": [node.parent]}
        said["modifiedTime"] = said["createdTime"] = stamp.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        if node.file.is_dir():
            return {**said, "mimeType": FOLDER}
        stat = node.file.stat()
        md5 = _md5(node.file, stat.st_size, stat.st_mtime_ns)
        if self.drive.rule(self._about(node), "wrong_md5"):
            md5 = "0" * 32
        return {
            **said,
            "mimeType": "application/octet-stream",
            "size": str(node.file.stat().st_size),
            "md5Checksum": md5,
        }

    def _about(self, node: _Node) -> Request:
        return Request("list", node.path, self.account)

    def _one(self, request: Request) -> None:
        node = self.nodes.get(self._id())
        if "/drives/" in self.path and not self._id().startswith("missing"):  # the description of a shared drive
            self._json(request, 200, {"id": self._id(), "name": "lab"})
        elif node is None:
            self._refuse(request, "notFound")
        elif request.op == "get":
            self._json(request, 200, self._described(node))
        elif not self.drive.begin_body():
            self._refuse(request, "userRateLimitExceeded")
        else:
            try:
                self._media(request, node.file)
            finally:
                self.drive.end_body()

    def _media(self, request: Request, file: Path) -> None:
        size = file.stat().st_size
        request.start, request.end = 0, size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if asked and not self.drive.rule(request, "ignore_range"):
            request.start = int(asked[1])
            request.end = min(size, int(asked[2]) + 1 if asked[2] else size)
        rule = self.drive.rule(request, "reset", "close", "stall", "short", "corrupt", "slow") or Rule("")
        with file.open("rb") as opened:  # only what is asked for: a range of a large file costs no more than itself
            opened.seek(request.start)
            body = bytearray(opened.read(request.end - request.start))
        cut = max(0, rule.at - request.start)
        if rule.kind == "corrupt" and request.start <= rule.at < request.end:
            body[cut] ^= 0xFF
        elif rule.kind == "short":
            del body[cut:]
        length = len(body)
        whole = f"bytes {request.start}-{request.end - 1}/{size}"
        self._head(request, 206 if asked else 200, length, f"Content-Range: {whole}\r\n" if asked else "")
        if rule.kind in ("reset", "close", "stall") and cut < length:
            self._send(request, body[:cut], 0)
            self._break_off(rule.kind)
        self._send(request, body, rule.bps)

    def _send(self, request: Request, body: bytes | bytearray, bps: int) -> None:
        for begin in range(0, len(body), SLICE):
            part = body[begin : begin + SLICE]
            if (pause := self.drive.line_wait(len(part))) and self.drive.stopping.wait(pause):
                raise OSError("stopping")
            if begin + SLICE >= len(body):
                request.ended = time.monotonic()  # before the client can know of it
            request.sent += len(part)  # counted before: of a part that breaks off, some bytes may arrive
            self.connection.sendall(part)
            if bps and self.drive.stopping.wait(len(part) / bps):
                raise OSError("stopping")

    def _break_off(self, kind: str) -> None:
        self._wait_until_delivered()
        if kind == "stall":
            self.drive.stalled.set()
            self.drive.end_body()  # it may last until the end of all tests
            self.drive.stopping.wait()
            self.drive.begin_body()
        elif kind == "reset":  # closing with a linger of zero seconds sends a RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        raise OSError(kind)

    def _wait_until_delivered(self) -> None:
        """Wait until the peer's kernel has every byte: a RST throws away what is still queued here."""
        waiting = 1
        while waiting and not self.drive.stopping.is_set():
            answer = fcntl.ioctl(self.connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
            (waiting,) = struct.unpack("i", answer)
            time.sleep(0.001)

    def _head(self, request: Request, status: int, length: int, extra: str = "") -> None:
        request.status = status
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n{extra}"
        kind = "application/json" if status != 206 and request.op != "media" else "application/octet-stream"
        self.connection.sendall(f"{head}Content-Type: {kind}\r\n\r\n".encode())

    def _json(self, request: Request, status: int, said: dict[str, Any]) -> None:
        body = json.dumps(said).encode()
        request.ended = time.monotonic()
        self._head(request, status, len(body))
        self.connection.sendall(body)


@functools.lru_cache(4096)
def _md5(file: Path, size: int, changed: int) -> str:
    """Return a file's md5, hashed again only when it has changed."""
    return hashlib.md5(file.read_bytes()).hexdigest()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    allow_reuse_address = True

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        super().__init__(("127.0.0.1", drive.port), _Connection)


@contextmanager
def serve(content: Path, state: Path) -> Iterator[Drive]:
    """Run a Drive with a folder's content; `state` takes the certificates and rclone.conf."""
    state.mkdir(parents=True, exist_ok=True)
    drive = Drive(content, state)
    drive.come_up()
    try:
        yield drive
    finally:
        drive.stopping.set()
        drive.go_down()


def _certificates(state: Path) -> ssl.SSLContext:
    """Make a CA (`ca.pem`) and a server certificate for the Google names."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "throw-away CA")])
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)

    def builder(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        begun = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public)
        begun = begun.serial_number(x509.random_serial_number())
        return begun.not_valid_before(now - day).not_valid_after(now + 30 * day)

    constraints = x509.BasicConstraints(ca=True, path_length=0)
    ca = builder(ca_name, ca_key.public_key()).add_extension(constraints, critical=True)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in HOSTS]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "drive emulator")])
    leaf = builder(server_name, key.public_key()).add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = serialization.Encoding.PEM
    (state / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (state / "server.pem").write_bytes(private + leaf.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(state / "server.pem")
    return context
