"""CoreNLP 3.6.0, the parser behind SPICE: located on this machine or downloaded.

Its files are used only if their bytes are those pinned here. No other version will do: SPICE
matches names of grammatical relations that later versions changed, and would lose tuples silently.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.maven import MavenContext, PythonResolver
from tqdm import tqdm

from dsacap.common.errors import UserError
from dsacap.common.files import ZIP_ERRORS

_GROUP, _ARTIFACT, _VERSION = "edu.stanford.nlp", "stanford-corenlp", "3.6.0"
# The authors' own archive, 385 MiB.
_ZIP = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
_TIMEOUT = 60  # seconds to connect, and between two reads
_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class Jar:
    """A jar of CoreNLP, with the size and hash that its bytes must have."""

    classifier: str  # of its Maven coordinates; empty for the code
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        """The jar's file name."""
        return "-".join(filter(None, (_ARTIFACT, _VERSION, self.classifier))) + ".jar"


CODE = Jar("", 7_270_741, "d341d5863276f55782c5ef73212222d6b3b48e02ae1951ab6de7618d28b12742")
MODELS = Jar(
    "models", 378_116_526, "d285157bd7887ee3018094b5dbae092e49088b023361ccdb550ee1daf9b2c9bd"
)


class CoreNlpMissing(UserError):
    """CoreNLP is neither on this machine nor can it be downloaded."""


def cache_folder() -> Path:
    """Return the folder of files that can be downloaded or computed again.

    It is $DSACAP_CACHE if that is set, otherwise `dsacap` in the user's cache folder.
    """
    if folder := os.environ.get("DSACAP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsacap"


def corenlp_jars(download: bool, models: bool = True) -> list[Path]:
    """Return the paths of CoreNLP's jars: its code and, if wanted, its models.

    Looks in $CORENLP_DIR, then in the cache folder. If neither has all jars, and downloading is
    allowed, the missing ones are downloaded into the cache folder: by their Maven coordinates or,
    if that fails, from the authors' zip. Every file is checked against its size and SHA-256 each
    time (1 s for the models).

    Args:
        download: Whether missing jars may be downloaded.
        models: Whether the models are wanted, which parsing needs.

    Raises:
        CoreNlpMissing: No source has the pinned bytes. The message lists what was tried.
    """
    wanted = [CODE, MODELS] if models else [CODE]
    home = cache_folder() / f"corenlp-{_VERSION}"
    given = os.environ.get("CORENLP_DIR")
    own = [("$CORENLP_DIR", Path(given))] if given else []
    tried = [] if given else ["$CORENLP_DIR (not set)"]
    for label, folder in (*own, (str(home), home)):
        problems = [
            f"{jar.name}: {problem}"
            for jar in wanted
            if (problem := _problem(folder / jar.name, jar))
        ]
        if not problems:
            return [folder / jar.name for jar in wanted]
        tried.append(f"{label} ({'; '.join(problems)})")
    if download:
        for label, source in (
            ("its Maven coordinates", _from_maven),
            ("nlp.stanford.edu", _from_zip),
        ):
            try:
                _fetch(source, [jar for jar in wanted if _problem(home / jar.name, jar)], home)
                return [home / jar.name for jar in wanted]
            except (requests.RequestException, *ZIP_ERRORS, KeyError, _WrongFile) as error:
                tried.append(f"{label} ({_short(error)})")
    else:
        tried.append("download (not requested)")
    jars = " and ".join(jar.name for jar in wanted)
    with_models = " and its models" if models else ""
    raise CoreNlpMissing(
        f"SPICE: not computed (CoreNLP {_VERSION}{with_models} missing).\n"
        f"  tried: {', '.join(tried)}\n"
        f"  fix:   place {jars} in {given or home}, or run again with network access\n"
        "  BLEU, METEOR, ROUGE-L and CIDEr are not affected."
    )


class _WrongFile(Exception):
    """A source has other bytes than those pinned."""


def _problem(path: Path, jar: Jar) -> str | None:
    try:
        if (size := path.stat().st_size) != jar.size:
            return f"has {size} bytes, not {jar.size}"
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        return str(error.strerror)
    return None if got == jar.sha256 else f"has sha256 {got[:12]}..., not {jar.sha256[:12]}..."


def _fetch(source: Callable[[Jar, Path], Path], jars: list[Jar], home: Path) -> None:
    """Download jars into the folder `home`.

    Each is checked in a temporary folder next to its destination before it is moved there, so
    several processes may download at once, and none sees half a file.
    """
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".fetch.") as temporary:
        for jar in jars:
            file = source(jar, Path(temporary))
            if problem := _problem(file, jar):
                raise _WrongFile(f"{jar.name}: {problem}")
            os.replace(file, home / jar.name)


def _from_maven(jar: Jar, folder: Path) -> Path:
    """Download a jar by its Maven coordinates, without its dependencies.

    With joda-time on the class path, CoreNLP would do more than it did for SPICE's authors.
    """
    context = MavenContext(
        PythonResolver(progress_callback=_bar), repo_cache=folder / "maven", timeout=_TIMEOUT
    )
    return (
        context.project(_GROUP, _ARTIFACT).at_version(_VERSION).artifact(jar.classifier).resolve()
    )


def _from_zip(jar: Jar, folder: Path) -> Path:
    archive = folder / "corenlp.zip"
    if not archive.exists():
        with (
            requests.get(_ZIP, stream=True, timeout=_TIMEOUT) as response,
            archive.open("wb") as file,
        ):
            response.raise_for_status()
            with _bar(archive.name, int(response.headers.get("Content-Length", 0))) as advance:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    advance(len(chunk))
    with zipfile.ZipFile(archive) as opened, (folder / jar.name).open("wb") as file:
        (member,) = [m for m in opened.namelist() if Path(m).name == jar.name] or [jar.name]
        with opened.open(member) as source:
            shutil.copyfileobj(source, file, _CHUNK)
    return folder / jar.name


@contextlib.contextmanager
def _bar(name: str, size: int) -> Iterator[Callable[[int], None]]:
    with tqdm(desc=name, total=size or None, unit="B", unit_scale=True, mininterval=1) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        yield advance


def _short(error: Exception) -> str:
    """Return the first line: jgo's errors have several, with hosts and whole URLs."""
    return (str(error) or type(error).__name__).split("\n")[0][:200]
