"""CoreNLP 3.6.0, the parser behind SPICE: found on this machine or fetched, and used only where it is the very bytes pinned here.

No other version will do: SPICE matches names of grammatical relations that later ones changed, and would lose tuples silently.
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
_ZIP = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"  # its authors' own, 385 MiB
_TIMEOUT = 60  # seconds, to connect and between two reads
_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class Jar:
    classifier: str
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        return "-".join(filter(None, (_ARTIFACT, _VERSION, self.classifier))) + ".jar"


CODE = Jar("", 7_270_741, "d341d5863276f55782c5ef73212222d6b3b48e02ae1951ab6de7618d28b12742")
MODELS = Jar(
    "models", 378_116_526, "d285157bd7887ee3018094b5dbae092e49088b023361ccdb550ee1daf9b2c9bd"
)


class CoreNlpMissing(UserError):
    """CoreNLP is neither here nor to be fetched."""


def cache_folder() -> Path:
    """Where what may be fetched or computed again is kept: $DSACAP_CACHE, else `dsacap` in the user's cache folder."""
    if folder := os.environ.get("DSACAP_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dsacap"


def corenlp_jars(download: bool, models: bool = True) -> list[Path]:
    """The jar of CoreNLP's code and, with `models` (needed to parse), that of its models.

    Looks in $CORENLP_DIR, then in the cache folder; with `download`, then fetches what is missing into the cache folder, by its Maven
    coordinates or else from its authors' zip. Every file is checked against its size and SHA-256 each time (1 s for the models).
    Raises CoreNlpMissing, saying what was tried, where no source gave the pinned bytes.
    """
    wanted, tried = [CODE, MODELS] if models else [CODE], []
    home = cache_folder() / f"corenlp-{_VERSION}"
    given = os.environ.get("CORENLP_DIR")
    for label, folder in (("$CORENLP_DIR", given and Path(given)), (str(home), home)):
        problems = (
            [
                f"{jar.name}: {problem}"
                for jar in wanted
                if (problem := _problem(folder / jar.name, jar))
            ]
            if folder
            else ["not set"]
        )
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
        tried.append("no download (not asked for)")
    raise CoreNlpMissing(
        f"SPICE: not computed (CoreNLP {_VERSION}{' and its models' if models else ''} missing).\n"
        f"  tried: {', '.join(tried)}\n"
        f"  fix:   place {' and '.join(jar.name for jar in wanted)} in {given or home}, or run again with a network\n"
        "  BLEU, METEOR, ROUGE-L and CIDEr are unaffected."
    )


class _WrongFile(Exception):
    """A source gave other bytes than those pinned."""


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
    """Gets each jar into a temporary folder beside its place, checks it there, and only then gives it its name: several processes may
    fetch at once, and none sees half a file."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".fetch.") as temporary:
        for jar in jars:
            file = source(jar, Path(temporary))
            if problem := _problem(file, jar):
                raise _WrongFile(f"{jar.name}: {problem}")
            os.replace(file, home / jar.name)


def _from_maven(jar: Jar, folder: Path) -> Path:
    """Without dependencies: with joda-time on the class path, CoreNLP would do more than SPICE's authors had it do."""
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
def _bar(name: str, size: int) -> Iterator[Callable[[int], object]]:
    with tqdm(desc=name, total=size or None, unit="B", unit_scale=True, mininterval=1) as bar:
        yield bar.update


def _short(error: Exception) -> str:
    """The first line; jgo's errors name hosts and whole URLs in several."""
    return (str(error) or type(error).__name__).split("\n")[0][:200]
