"""The test Hub's sockets: they read requests, and send answers as far as the faults let them."""

import contextlib
import json
import os
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.hub_messages import Cut, Host, Reply, Request

if TYPE_CHECKING:
    from tests.hub_server import HubServer

NAMES: dict[Host, str] = {"hub": "127.0.0.1", "storage": "localhost", "stranger": "127.0.0.1"}
"""Different names, so that a token that is sent to whichever host a redirect names is noticed."""


class Listener(socketserver.ThreadingTCPServer):
    """One of the origins."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hub: "HubServer", host: Host) -> None:
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self.hub, self.host = hub, host
        self.server_bind()
        self.origin = f"http://{NAMES[host]}:{self.server_address[1]}"
        self._accepting: threading.Thread | None = None
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()

    def accept(self) -> None:
        if self._accepting is None:
            self.server_activate()
            self._accepting = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
            self._accepting.start()

    def refuse(self, *, hold_port: bool = True) -> None:
        if self._accepting is not None:
            self.shutdown()
            self._accepting.join()
            self._accepting = None
        self.server_close()
        if hold_port:  # bound, but not listening: connections are refused, and nobody else gets the port
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_bind()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._connections.values())

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._lock:
            self._connections[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(request, None)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)  # without the polite end that would come before a reset

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, ConnectionError):
            self.hub.problems.append(error)


class Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and sends answers, as far as the faults let it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener
    _request: Request

    def do_GET(self) -> None:
        hub = self.server.hub
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.rfile.read(int(headers.get("content-length", 0)))
        if self.server.host == "hub" and url.path in ("/stats", "/bandwidth", "/latency"):
            control = Reply(200, {"Content-Type": "application/json"}, self._control(url.path, url.query))
            self._send_head(control)
            self.connection.sendall(control.body)
            return
        asked = Request(self.server.host, self.command, url.path, url.query, headers, time.monotonic())
        self._request, reply = hub.answer(asked)
        try:
            self._send(reply)
        except ConnectionError:
            self.close_connection = True
        self._note(is_done=True)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The log is `HubServer.requests`."""

    # ---- answers -------------------------------------------------------------------------------------------

    def _send(self, reply: Reply) -> None:
        cut = reply.cut
        self.server.hub.closing.wait(reply.delay)
        if cut and cut.after_bytes is None and not self._end_early(cut):
            return
        self._send_head(reply)
        if self.command == "HEAD":
            return
        if cut and cut.after_bytes is not None:
            self._send_body(reply, 0, cut.after_bytes)
            if self._end_early(cut):
                self._send_body(reply, cut.after_bytes, reply.length)
        else:
            self._send_body(reply, 0, reply.length)

    def _send_head(self, reply: Reply) -> None:
        reason = self.responses[reply.status][0] if reply.status in self.responses else ""
        lines = [f"HTTP/1.1 {reply.status} {reason}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        lines += [
            f"Content-Length: {reply.length}",
            f"Connection: {'close' if self.close_connection else 'keep-alive'}",
        ]
        head = "\r\n".join([*lines, "", ""]).encode()
        if reply.head_speed is None:
            self.connection.sendall(head)
        for place in range(len(head) if reply.head_speed else 0):
            self.connection.sendall(head[place : place + 1])
            self.server.hub.closing.wait(1 / (reply.head_speed or 1))

    def _send_body(self, reply: Reply, start: int, stop: int) -> None:
        """The bytes `start … stop` of the body."""
        hub, data = self.server.hub, reply.content.data if reply.content else reply.body
        first = reply.span[0] if reply.content else 0
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(data.open("rb")).fileno() if isinstance(data, Path) else -1
            while start < stop:
                count, before = hub.pace(stop - start), self._request.bytes_sent
                if reply.speed:
                    hub.closing.wait(1 / reply.speed)
                    count = 1
                self._note(bytes_sent=before + count)  # first, for the other end may look as soon as it has them
                sent = 0
                try:
                    if isinstance(data, bytes):
                        sent = self.connection.send(memoryview(data)[first + start : first + start + count])
                    else:
                        sent = os.sendfile(self.connection.fileno(), file, first + start, count)
                finally:
                    if sent != count:
                        self._note(bytes_sent=before + sent)
                if sent == 0:  # the file on disk is shorter than it was when the headers were written
                    self.close_connection = True
                    return
                start += sent

    def _end_early(self, cut: Cut) -> bool:
        """Do what a fault wants at this point; whether the rest is sent after all."""
        if cut.then == "stall" and self._outlast(cut.seconds):
            return True
        if cut.then == "reset":  # what closes now closes with a RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        return False

    def _outlast(self, seconds: float | None) -> bool:
        """Send nothing for so long; False when the other end, or this one, has been closed meanwhile."""
        until = time.monotonic() + seconds if seconds is not None else None
        while until is None or time.monotonic() < until:
            if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
                return False
            self.server.hub.closing.wait(0.01)
        return True

    def _note(self, **changes: Any) -> None:
        self._request = self.server.hub.note(self._request, **changes)

    def _control(self, path: str, query: str) -> bytes:
        """What benchmarks ask for; it is not in the log."""
        hub, asked = self.server.hub, parse_qs(query, keep_blank_values=True)
        if path == "/stats":
            answer = hub.stats()
            if "reset" in asked:
                hub.forget()
            return json.dumps(answer).encode()
        value = float(asked["value"][0]) if asked.get("value", [""])[0] else None
        if path == "/bandwidth":
            hub.bandwidth = value or None
        else:
            hub.latency = value or 0
        return json.dumps({"bandwidth": hub.bandwidth, "latency": hub.latency}).encode()
