"""One file from one address, its segments fetched side by side. What has arrived outlives a kill; a server that is wrong is found out."""

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
TRIES = 4  # in a row that bring less than PROGRESS
PROGRESS = 2**20  # bytes
TIMEOUT = (10, 60)  # seconds to connect, and between two reads
SLOWEST = 1024  # bytes a second over TIMEOUT[1]; what drips more slowly has stalled
LONGEST_WAIT = 120  # seconds that a server may ask for (Retry-After)
_READ = 2**18  # bytes
_SAVE_SECONDS = 1


class Refusal(Exception):
    """The address does not have the file, or gives up: asking again is of no use."""


class _Fault(Exception):
    """This try failed; the next may not."""

    def __init__(self, reason: str, wait: float = 0):
        super().__init__(reason)
        self.wait = wait


class _NoRanges(Exception):
    """The server answers with the whole file, or with segments of different files."""


class Part:
    """The bytes of `target` that are here: `<target>.part`, with holes, and `<target>.part.json`, how far each segment has come.

    A part without the second file is taken for the beginning of the target. Use it as a context, which locks it against other processes.
    """

    def __init__(self, target: Path, size: int):
        self.path, self.size = target.with_name(target.name + ".part"), size
        self._state = target.with_name(target.name + ".part.json")
        self._lock, self._saved = threading.Lock(), 0.0

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is fetching this file; wait for it"
                ) from None
            self._load()
            self._save()  # before there are holes
            yield
        finally:
            os.close(self._fd)

    def _load(self) -> None:
        there = os.fstat(self._fd).st_size
        starts = range(0, self.size, SEGMENT)
        self.have, self.version = [min(max(there - start, 0), SEGMENT) for start in starts], {}
        if self._state.exists():
            state = read_json(self._state)
            self.have, self.version = state["have"], state["version"]
            reached = max((self.next(s) for s, have in enumerate(self.have) if have), default=0)
            if (state["size"], state["segment"]) != (self.size, SEGMENT) or reached > there:
                self.have = [0] * len(starts)
                self.clear()

    @property
    def bytes(self) -> int:
        return sum(self.have)

    def lacking(self) -> list[int]:
        """The segments that are not whole."""
        return [s for s in range(len(self.have)) if self.next(s) < self.end(s)]

    def next(self, segment: int) -> int:
        """Where in the file the first byte goes that the segment lacks."""
        return segment * SEGMENT + self.have[segment]

    def end(self, segment: int) -> int:
        return min((segment + 1) * SEGMENT, self.size)

    def write(self, at: int, data: bytes) -> None:
        """Puts down bytes at the place where their segment goes on."""
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
        """_NoRanges if what came from `url` before was of another version, by its ETag or date: a single answer is of one version."""
        with self._lock:
            if version and self.version.setdefault(url, version) != version:
                raise _NoRanges

    def clear(self) -> None:
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
        with self._lock:
            self._save()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        os.replace(self.path, target)
        self._state.unlink(missing_ok=True)


def download(url: str, part: Part, connections: int) -> None:
    """Fetches what an open `part` lacks, over several connections where the server knows ranges. Refusal if the address is of no use."""
    with progress(
        None, f"fetch {part.path.stem}", "B", total=part.size, initial=part.bytes, unit_scale=True
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
        stop.set()  # the segments beside it, and those that wait, end at once
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
    """The whole file as one answer, which has to come through in one go."""
    stop = threading.Event()
    for tries in range(1, TRIES + 1):
        part.clear()
        bar.reset(part.size)
        try:
            with _get(url, {}) as response:
                length = response.headers.get("Content-Length", str(part.size))
                if response.status_code != 200 or length != str(part.size):
                    raise Refusal(
                        f"offers {length} bytes (status {response.status_code}) instead of {part.size}"
                    )
                return _receive(response, part, 0, part.size, bar, stop)
        except _Fault as fault:
            _try_again(tries, fault, stop)


def _try_again(tries: int, fault: _Fault, stop: threading.Event) -> None:
    """Waits before the next try; Refusal if there is none."""
    if tries >= TRIES:
        raise Refusal(f"{fault} ({tries} times)") from None
    if fault.wait > LONGEST_WAIT:
        raise Refusal(f"{fault}, and asks to be left alone for {fault.wait:.0f} seconds") from None
    _pause(max(2**tries - 1, fault.wait), stop)  # 1, 3, 7 seconds


def _pause(seconds: float, stop: threading.Event) -> None:
    stop.wait(seconds)


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    """An answer of status 2xx, its body not yet read."""
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
    """The seconds that an overloaded server asks to be left alone: a number, or a date."""
    said = response.headers.get("Retry-After", "")
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _check_range(response: requests.Response, start: int, end: int, size: int) -> None:
    """Refusal if the answer says that it holds other bytes than those asked for, or that the file has another size."""
    offered = response.headers.get("Content-Range", "")
    if not re.fullmatch(rf"bytes {start}-{end - 1}/({size}|\*)", offered):
        raise Refusal(f"asked for bytes {start}-{end - 1} of {size}, offers {offered!r}")


def _receive(
    response: requests.Response, part: Part, at: int, end: int, bar, stop: threading.Event
) -> None:
    """Writes the body down from byte `at` on, up to `end`."""
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
            raise Refusal(f"sends more than {end} bytes of {part.size}, which were asked for")
        part.write(at, data)
        bar.update(len(data))
        at, received = at + len(data), received + len(data)
        if time.monotonic() - since > TIMEOUT[1]:
            if received < SLOWEST * TIMEOUT[1]:
                raise _Fault(f"stalled: {received} bytes in {TIMEOUT[1]} seconds")
            since, received = time.monotonic(), 0
    if at < end and not stop.is_set():
        raise _Fault(f"connection closed after {at} of {part.size} bytes")
