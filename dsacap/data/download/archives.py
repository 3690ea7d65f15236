"""Archives of data, unpacked without trust: no unsafe names, no links, no bombs; all of what is wanted or nothing."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from dsacap.common.disk import check_room
from dsacap.common.errors import UserError, exhausted
from dsacap.common.files import ZIP_ERRORS
from dsacap.data.photos import open_zip

MOST_PACKED = (
    200  # times that data may be larger than its archive; captions in JSON are 5, zeros 1000
)


def extract(archive: Path, folder: Path, wanted: Collection[str] | None = None) -> None:
    """Extracts a zip into `folder`, or the members `wanted` of it; files already there with the same bytes stay.

    Raises UserError, before anything is written, on unsafe names, links, names that come twice, archives that are small for what they
    hold, absent members, and files in `folder` that differ from the archive's.
    """
    archive, folder = Path(archive), Path(folder)
    with open_zip(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        _check_members(members, archive)
        if wanted is not None:
            if absent := sorted(set(wanted) - {member.filename for member in members}):
                raise UserError(f"{archive}: holds no {absent[0]}; is it the right archive?")
            members = [member for member in members if member.filename in wanted]
        members = [member for member in members if not _is_extracted(member, folder, archive)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        check_room({folder: sum(member.file_size for member in members)})
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            try:
                opened.extractall(temporary, members)
            except ZIP_ERRORS as error:
                if exhausted(error):  # the disk's fault, not the archive's
                    raise
                raise UserError(f"{archive}: cannot extract it ({error}); fetch it again") from None
            for member in members:
                (folder / member.filename).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(
                    Path(temporary) / member.filename, folder / member.filename
                )  # also works where `folder` is a mount


def _check_members(members: Collection[zipfile.ZipInfo], archive: Path) -> None:
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(
                f"{archive}: refusing the link {member.filename!r}; a data archive needs none"
            )
    names = Counter(PurePosixPath(member.filename) for member in members)  # a//b is a/b
    if twice := [
        name
        for name, count in names.items()
        if count > 1 or not names.keys().isdisjoint(name.parents)
    ]:
        raise UserError(
            f"{archive}: refusing an archive that holds a name twice, or as a file and as a folder: {str(twice[0])!r}"
        )
    size = sum(member.file_size for member in members)
    if size > MOST_PACKED * archive.stat().st_size:
        raise UserError(
            f"{archive}: {size / 1e9:.1f} GB unpacked, over {MOST_PACKED} times its size: refusing what may be a bomb"
        )


def _is_extracted(member: zipfile.ZipInfo, folder: Path, archive: Path) -> bool:
    """Whether `folder` holds this member already; UserError if something else stands there."""
    there = folder / member.filename
    if blocked := [
        parent
        for parent in (*there.parents, folder)
        if parent.is_relative_to(folder) and parent.exists() and not parent.is_dir()
    ]:
        raise UserError(
            f"{blocked[0]}: stands where {archive} has a folder; remove it, or move it away, and run again"
        )
    if not there.exists():
        return False
    if (
        not there.is_file()
        or there.stat().st_size != member.file_size
        or zlib.crc32(there.read_bytes()) != member.CRC
    ):
        raise UserError(
            f"{there}: differs from the one in {archive}; remove it, or move it away, and run again"
        )
    return True
