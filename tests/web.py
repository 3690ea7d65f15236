"""A web server that misbehaves on demand, as networks do during downloads."""

import contextlib
import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MIB = 2**20


class Server(http.server.ThreadingHTTPServer):
    """Serves ranges of `content`, or of the files that `files` maps names to.

    Each request takes the first of the remaining `faults`, which changes its answer.
    """

    daemon_threads = True

    def __init__(self, content: bytes = b"", files: dict[str, Path] | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.files = content, files or {}
        self.faults: list[Callable[[Answer], None]] = []
        self.always: Callable[[Answer], None] = lambda answer: None
        self.asked: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.base}/file.bin"


class Answer:
    """A response before it is sent, for faults to change."""

    def __init__(self, content: bytes, wanted: str | None):
        self.content, self.status, self.headers = content, 200, {"ETag": '"one"'}
        self.send = self._send_all
        self.length: int | None = None
        first, last = 0, len(content) - 1
        if wanted:
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups())
            self.status = 206
            if first >= len(content):
                self.status, self.headers["Content-Range"] = 416, f"bytes */{len(content)}"
                last = first - 1
            else:
                last = min(last, len(content) - 1)
                self.headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.body = content[first : last + 1]

    def whole(self) -> None:
        self.status, self.body = 200, self.content
        self.headers.pop("Content-Range", None)

    @staticmethod
    def _send_all(write: Callable[[bytes], None], body: bytes) -> None:
        write(body)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.0"

    def do_GET(self):
        server = self.server
        with server.lock:
            server.asked.append(self.headers["Range"])
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            fault = server.faults.pop(0) if server.faults else None
        try:
            name = self.path.rpartition("/")[2]
            answer = Answer(
                server.files[name].read_bytes() if server.files else server.content,
                self.headers["Range"],
            )
            server.always(answer)
            if fault:
                fault(answer)
            self.send_response(answer.status)
            for header, value in answer.headers.items():
                self.send_header(header, value)
            if answer.length != -1:
                self.send_header(
                    "Content-Length",
                    str(len(answer.body) if answer.length is None else answer.length),
                )
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the client may hang up
                answer.send(self.wfile.write, answer.body)
        finally:
            with server.lock:
                server.at_once -= 1

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(content: bytes = b"", files: dict[str, Path] | None = None) -> Iterator[Server]:
    with Server(content, files) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


# ----------------------------------------------------------------------------------------- faults


def cut(after: int) -> Callable[[Answer], None]:
    """End the connection after some bytes."""

    def fault(answer: Answer) -> None:
        answer.send = lambda write, body: write(body[:after])

    return fault


def cut_without_length(after: int) -> Callable[[Answer], None]:
    """End the connection without having announced a length, so that it looks complete."""

    def fault(answer: Answer) -> None:
        answer.length = -1
        cut(after)(answer)

    return fault


def stall(after: int, seconds: float = 2) -> Callable[[Answer], None]:
    """Send nothing for a while after some bytes."""

    def fault(answer: Answer) -> None:
        def send(write, body):
            write(body[:after])
            time.sleep(seconds)

        answer.send = send

    return fault


def drip(seconds: float) -> Callable[[Answer], None]:
    """Send single bytes so slowly that the download takes long, but no read times out."""

    def fault(answer: Answer) -> None:
        def send(write, body):
            for at in range(60):
                write(body[at : at + 1])
                time.sleep(seconds)

        answer.send = send

    return fault


def ignore_ranges(answer: Answer) -> None:
    answer.whole()


def other_range(answer: Answer) -> None:
    answer.headers["Content-Range"] = f"bytes 7-{6 + len(answer.body)}/{len(answer.content)}"


def other_version(answer: Answer) -> None:
    answer.headers["ETag"] = '"two"'


def wrong_bytes(answer: Answer) -> None:
    answer.body = b"x" * len(answer.body)


def status(code: int, **headers: str) -> Callable[[Answer], None]:
    def fault(answer: Answer) -> None:
        answer.status, answer.body = code, b"sorry"
        answer.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    return fault


def endless(answer: Answer) -> None:
    answer.length, answer.body = -1, answer.body + b"x" * MIB


def compressed(answer: Answer) -> None:
    answer.headers["Content-Encoding"] = "gzip"
