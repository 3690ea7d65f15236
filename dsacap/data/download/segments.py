"""Download of one file from one address, in concurrent segments.

What has arrived survives a kill of the process, and wrong answers of a server are detected.
"""

import contextlib
import fcntl
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, write_json
from dsacap.common.progress import progress

SEGMENT = 32 * 2**20  # bytes that one request asks for
TRIES = 4  # in a row, each with fewer bytes than PROGRESS, before an address is given up
PROGRESS = 2**20  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and between two reads
SLOWEST = 1024  # bytes a second, averaged over TIMEOUT[1]; anything slower has stalled
LONGEST_WAIT = 120  # seconds; an address whose server asks for more (Retry-After) is given up
_READ = 2**18  # bytes read at once
_SAVE_SECONDS = 1


class Refusal(Exception):
    """An address does not deliver the file, and asking again is useless."""


class _Fault(Exception):
    """A failed try, after which the next may succeed; the server asks to wait `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class _NoRanges(Exception):
    """The server answers with the whole file, or with segments of different versions."""


class Part:
    """The bytes of a file that have arrived.

    They are in `<target>.part`, a sparse file; `<target>.part.json` records how far each segment
    has come. A part without that record is taken for the beginning of the target.

    Args:
        target: The complete file.
        size: Its size in bytes.
    """

    def __init__(self, target: Path, size: int):
        self.path, self.size = target.with_name(target.name + ".part"), size
        self._state = target.with_name(target.name + ".part.json")
        self._lock, self._saved = threading.Lock(), 0.0

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Open the part within the block, locked against other processes.

        Raises:
            UserError: Another process has locked it.
        """
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is fetching this file; wait for it"
                ) from None
            self._load()
            self._save()  # the record must exist before the file has holes
            yield
        finally:
            os.close(self._fd)

    def _load(self) -> None:
        size = os.fstat(self._fd).st_size
        starts = range(0, self.size, SEGMENT)
        self.have, self.version = [min(max(size - start, 0), SEGMENT) for start in starts], {}
        if self._state.exists():
            state = read_json(self._state)
            self.have, self.version = state["have"], state["version"]
            reached = max((self.next(s) for s, have in enumerate(self.have) if have), default=0)
            if (state["size"], state["segment"]) != (self.size, SEGMENT) or reached > size:
                self.have = [0] * len(starts)
                self.clear()

    @property
    def received(self) -> int:
        """The number of bytes that have arrived."""
        return sum(self.have)

    def lacking(self) -> list[int]:
        """Return the numbers of the incomplete segments."""
        return [s for s in range(len(self.have)) if self.next(s) < self.end(s)]

    def next(self, segment: int) -> int:
        """Return the position in the file of the first byte that a segment lacks."""
        return segment * SEGMENT + self.have[segment]

    def end(self, segment: int) -> int:
        """Return the position in the file just after a segment."""
        return min((segment + 1) * SEGMENT, self.size)

    def write(self, at: int, data: bytes) -> None:
        """Write bytes at a position, which must be where their segment continues."""
        view, place = memoryview(data), at
        while view:
            written = os.pwrite(self._fd, view, place)
            view, place = view[written:], place + written
        with self._lock:
            while at < place:
                segment, inside = divmod(at, SEGMENT)
                self.have[segment] = min(inside + place - at, SEGMENT)
                at = (segment + 1) * SEGMENT
            if time.monotonic() - self._saved > _SAVE_SECONDS:
                self._save()

    def check_version(self, url: str, version: str | None) -> None:
        """Raise _NoRanges if earlier bytes from `url` are of another version, by its ETag or date.

        A single answer with the whole file is of one version.
        """
        with self._lock:
            if version and self.version.setdefault(url, version) != version:
                raise _NoRanges

    def clear(self) -> None:
        """Discard all bytes."""
        os.ftruncate(self._fd, 0)
        self.have, self.version = [0] * len(self.have), {}
        self._save()

    def _save(self) -> None:
        write_json(
            self._state,
            {"size": self.size, "segment": SEGMENT, "have": self.have, "version": self.version},
        )
        self._saved = time.monotonic()

    def save(self) -> None:
        """Record how far each segment has come."""
        with self._lock:
            self._save()

    def remove(self) -> None:
        """Delete both files."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Rename the complete part to the target."""
        os.replace(self.path, target)
        self._state.unlink(missing_ok=True)


def download(url: str, part: Part, connections: int) -> None:
    """Fetch what a part lacks, over several connections if the server supports ranges.

    Args:
        url: The address of the file.
        part: The part, opened.
        connections: How many segments to download at the same time.

    Raises:
        Refusal: The address does not deliver the file.
    """
    with progress(
        None,
        f"fetch {part.path.stem}",
        "B",
        total=part.size,
        initial=part.received,
        unit_scale=True,
    ) as bar:
        try:
            try:
                _download_segments(url, part, connections, bar)
            except _NoRanges:
                _download_whole(url, part, bar)
        finally:
            part.save()


def _download_segments(url: str, part: Part, connections: int, bar) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(connections) as pool:
        futures = [
            pool.submit(_download_segment, url, part, segment, bar, stop)
            for segment in part.lacking()
        ]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _download_segment(url: str, part: Part, segment: int, bar, stop: threading.Event) -> None:
    fruitless = 0
    try:
        while part.next(segment) < part.end(segment) and not stop.is_set():
            before = part.next(segment)
            try:
                _request_segment(url, part, segment, bar, stop)
            except _Fault as fault:
                fruitless = fruitless + 1 if part.next(segment) - before < PROGRESS else 1
                _try_again(fruitless, fault, stop)
    except BaseException:
        stop.set()  # ends the other segments at once, running or waiting
        raise


def _request_segment(url: str, part: Part, segment: int, bar, stop: threading.Event) -> None:
    start, end = part.next(segment), part.end(segment)
    with _get(url, {"Range": f"bytes={start}-{end - 1}"}) as response:
        if response.status_code != 206:
            raise _NoRanges
        _check_range(response, start, end, part.size)
        part.check_version(
            url, response.headers.get("ETag") or response.headers.get("Last-Modified")
        )
        _receive(response, part, start, end, bar, stop)


def _download_whole(url: str, part: Part, bar) -> None:
    """Download the whole file as one answer, which cannot be continued after a failure."""
    stop = threading.Event()
    for tries in range(1, TRIES + 1):
        part.clear()
        bar.reset(part.size)
        try:
            with _get(url, {}) as response:
                length = response.headers.get("Content-Length", str(part.size))
                if response.status_code != 200 or length != str(part.size):
                    raise Refusal(
                        f"offers {length} bytes (status {response.status_code})"
                        f" instead of {part.size}"
                    )
                return _receive(response, part, 0, part.size, bar, stop)
        except _Fault as fault:
            _try_again(tries, fault, stop)


def _try_again(tries: int, fault: _Fault, stop: threading.Event) -> None:
    """Wait before the next try; raise Refusal if no try is left."""
    if tries >= TRIES:
        raise Refusal(f"{fault} ({tries} times)") from None
    if fault.wait > LONGEST_WAIT:
        raise Refusal(f"{fault}, and asks to wait for {fault.wait:.0f} seconds") from None
    _pause(max(2**tries - 1, fault.wait), stop)  # 1, 3, 7 seconds


def _pause(seconds: float, stop: threading.Event) -> None:
    stop.wait(seconds)


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    """Request `url`, and return an answer of status 200 or 206 whose body is not read yet."""
    try:
        response = requests.get(
            url, headers={"Accept-Encoding": "identity"} | headers, stream=True, timeout=TIMEOUT
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _Fault(f"no answer ({error})") from None
    except requests.RequestException as error:  # no address, or redirected in circles
        raise Refusal(str(error)) from None
    status = f"{response.status_code} {response.reason}"
    if response.status_code >= 500 or response.status_code in (408, 425, 429):
        response.close()
        raise _Fault(f"answers {status}", _retry_after(response))
    if response.status_code == 416:
        response.close()
        raise Refusal(f"answers {status}: its file is shorter than expected")
    if (
        response.status_code not in (200, 206)
        or response.headers.get("Content-Encoding", "identity") != "identity"
    ):
        response.close()
        raise Refusal(f"answers {status}" + (", compressed" if response.ok else ""))
    return response


def _retry_after(response: requests.Response) -> float:
    """Return the seconds to wait that an overloaded server asks for, as a number or a date."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _check_range(response: requests.Response, start: int, end: int, size: int) -> None:
    """Raise Refusal if the answer announces other bytes than requested, or another file size."""
    offered = response.headers.get("Content-Range", "")
    if not re.fullmatch(rf"bytes {start}-{end - 1}/({size}|\*)", offered):
        raise Refusal(f"offers {offered!r} instead of bytes {start}-{end - 1} of {size}")


def _receive(
    response: requests.Response, part: Part, at: int, end: int, bar, stop: threading.Event
) -> None:
    """Write the body of an answer to the part, from position `at` up to `end`."""
    since, received = time.monotonic(), 0
    while not stop.is_set():
        try:
            data = response.raw.read1(_READ)
        except urllib3.exceptions.HTTPError as error:
            raise _Fault(
                f"broke off or stalled after {at} of {part.size} bytes ({error})"
            ) from None
        if not data:
            break
        if at + len(data) > end:
            raise Refusal(f"sends more bytes than requested (up to {end} of {part.size})")
        part.write(at, data)
        bar.update(len(data))
        at, received = at + len(data), received + len(data)
        if time.monotonic() - since > TIMEOUT[1]:
            if received < SLOWEST * TIMEOUT[1]:
                raise _Fault(f"stalled: {received} bytes in {TIMEOUT[1]} seconds")
            since, received = time.monotonic(), 0
    if at < end and not stop.is_set():
        raise _Fault(f"connection closed after {at} of {part.size} bytes")
