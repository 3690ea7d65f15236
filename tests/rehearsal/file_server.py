"""A web server of large files, which answers ranges, in a process of its own.

It can stop sending after some bytes, so that a download can be killed in the middle.
"""

import contextlib
import http.server
import multiprocessing
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

_CHUNK = 2**18
_CONTEXT = multiprocessing.get_context("fork")


class FileServer:
    """The server as its user sees it.

    Attributes:
        base: The address of the folder.
        sent: Bytes sent so far.
        most: Bytes after which the server falls silent, until it is raised.
    """

    def __init__(self, folder: Path) -> None:
        self.sent = _CONTEXT.Value("q", 0)
        self.most = _CONTEXT.Value("q", 2**62)
        handler = partial(_Handler, self, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self._process = _CONTEXT.Process(target=self._server.serve_forever, daemon=True)

    @contextlib.contextmanager
    def serving(self) -> Iterator["FileServer"]:
        """Serve within the block."""
        self._process.start()
        self._server.socket.close()
        try:
            yield self
        finally:
            self._process.terminate()
            self._process.join()


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, shared: FileServer, *arguments, **options):
        self.shared = shared
        super().__init__(*arguments, **options)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        size = path.stat().st_size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        first, last = map(int, wanted.groups()) if wanted else (0, size - 1)
        last = min(last, size - 1)
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("ETag", f'"{size}"')
        self.end_headers()
        with path.open("rb") as file, contextlib.suppress(ConnectionError):
            file.seek(first)
            for at in range(first, last + 1, _CHUNK):
                self._send(file.read(min(_CHUNK, last + 1 - at)))

    def _send(self, chunk: bytes) -> None:
        shared = self.shared
        while shared.sent.value >= shared.most.value:
            time.sleep(0.01)
        with shared.sent.get_lock():
            shared.sent.value += len(chunk)
        self.wfile.write(chunk)

    def log_message(self, *arguments):
        pass
