"""Unpacking of untrusted data archives.

Unsafe names, links and decompression bombs are refused, and either everything requested is
unpacked or nothing.
"""

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

# How many times larger than its archive the data may be; captions in JSON are 5 times, zeros 1000.
MOST_PACKED = 200


def extract(archive: Path, folder: Path, wanted: Collection[str] | None = None) -> None:
    """Extract a zip, leaving files that exist with the same bytes.

    Args:
        archive: The zip.
        folder: Where to extract it.
        wanted: The members to extract; None for all.

    Raises:
        UserError: A name in the archive is unsafe or repeated, a member is a link, the contents are
            too large for the archive, a wanted member is absent, or a file in `folder` differs from
            the archive. All this is checked before anything is written.
    """
    archive, folder = Path(archive), Path(folder)
    with open_zip(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        _check_members(members, archive)
        if wanted is not None:
            if absent := sorted(set(wanted) - {member.filename for member in members}):
                raise UserError(f"{archive}: contains no {absent[0]}; is it the right archive?")
            members = [member for member in members if member.filename in wanted]
        members = [member for member in members if not _is_extracted(member, folder, archive)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        check_room({folder: sum(member.file_size for member in members)})
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            try:
                opened.extractall(temporary, members)
            except ZIP_ERRORS as error:
                if exhausted(error):  # the fault of the disk, not of the archive
                    raise
                raise UserError(f"{archive}: cannot extract it ({error}); fetch it again") from None
            for member in members:
                (folder / member.filename).parent.mkdir(parents=True, exist_ok=True)
                # Unlike os.replace, this also works if `folder` is a mount.
                shutil.move(Path(temporary) / member.filename, folder / member.filename)


def _check_members(members: Collection[zipfile.ZipInfo], archive: Path) -> None:
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(
                f"{archive}: refusing the link {member.filename!r}; a data archive needs none"
            )
    names = Counter(PurePosixPath(member.filename) for member in members)  # a//b equals a/b
    if repeated := [
        name
        for name, count in names.items()
        if count > 1 or not names.keys().isdisjoint(name.parents)
    ]:
        raise UserError(
            f"{archive}: refusing an archive that contains a name twice, or as file and as folder:"
            f" {str(repeated[0])!r}"
        )
    size = sum(member.file_size for member in members)
    if size > MOST_PACKED * archive.stat().st_size:
        raise UserError(
            f"{archive}: {size / 1e9:.1f} GB unpacked, over {MOST_PACKED} times its size;"
            " refusing a possible decompression bomb"
        )


def _is_extracted(member: zipfile.ZipInfo, folder: Path, archive: Path) -> bool:
    """Return whether the folder has this member; raise UserError if it has something else there."""
    target = folder / member.filename
    if blocked := [
        parent
        for parent in (*target.parents, folder)
        if parent.is_relative_to(folder) and parent.exists() and not parent.is_dir()
    ]:
        raise UserError(
            f"{blocked[0]}: in the place of a folder of {archive};"
            " remove it, or move it away, and run again"
        )
    if not target.exists():
        return False
    if (
        not target.is_file()
        or target.stat().st_size != member.file_size
        or zlib.crc32(target.read_bytes()) != member.CRC
    ):
        raise UserError(
            f"{target}: differs from the file in {archive};"
            " remove it, or move it away, and run again"
        )
    return True
