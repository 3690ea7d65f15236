"""Strategies for malformed input: damaged bytes, changed trees of plain data, archives, images."""

import copy
import io
import stat
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

TEXTS = (
    "",
    " ",
    "\0",
    "\ud800",
    "../../x",
    "/etc/passwd",
    "a\nb",
    "a|b",
    "$(id)",
    "{{ x }}",
    "<script>alert(1)</script>",
    "²",
    "x" * 6000,
)
HOSTILE = (
    None,
    True,
    False,
    0,
    -1,
    7,
    2**31,
    2**63,
    -(2**80),
    0.5,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    {"a": None},
    *TEXTS,
)
SNIPPETS = (
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"[" * 3000,
    b"9" * 5000,
    b"NaN",
    b"{",
    b'"',
    b",",
    b"\n",
    b"\r",
    b"1e999",
    b"-",
    b": ",
    b"&a [*a]",
)


@st.composite
def torn(draw, data: bytes) -> bytes:
    """Draw bytes cut off, cut out, doubled, flipped, overwritten or inserted, 1 to 3 times."""
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted(draw(st.integers(0, len(data))) for _ in range(2))
        match draw(
            st.sampled_from(("cut off", "cut out", "double", "flip", "overwrite", "insert"))
        ):
            case "cut off":
                data = data[:at]
            case "cut out":
                data = data[:at] + data[end:]
            case "double":
                data = data[:end] + data[at:]
            case "flip":
                data = (
                    data[:at]
                    + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1])
                    + data[at + 1 :]
                )
            case "overwrite":
                put = draw(st.binary(min_size=1, max_size=8))
                data = data[:at] + put + data[at + len(put) :]
            case "insert":
                data = data[:at] + draw(st.sampled_from(SNIPPETS)) + data[at:]
    return data


@st.composite
def bent(draw, tree: Any, *names: str) -> Any:
    """Draw a tree with one to three changes.

    Values are replaced by hostile ones or by each other, dropped, doubled, wrapped, renamed or
    added. `names` are further values that may appear anywhere.
    """
    whole = [copy.deepcopy(tree)]
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(whole))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        keys = st.sampled_from(("id", "name", "1", "٣", *TEXTS)) | st.text(max_size=4)
        hostile = (
            st.sampled_from((*HOSTILE, *names)) | st.integers() | st.floats() | st.text(max_size=8)
        )
        match draw(
            st.sampled_from(("replace", "replace", "drop", "rename", "swap", "wrap", "add"))
        ):
            case "drop" if holder is not whole:
                del holder[key]
            case "swap":
                other, there = places[draw(st.integers(0, len(places) - 1))]
                holder[key] = copy.deepcopy(other[there])
            case "wrap":
                holder[key] = draw(
                    st.sampled_from(([holder[key]], {"a": holder[key]}, [holder[key]] * 2))
                )
            case "rename" if isinstance(holder, dict):
                holder[draw(keys)] = holder.pop(key)
            case "add" if isinstance(holder[key], dict):
                holder[key][draw(keys)] = draw(hostile)
            case _:
                holder[key] = draw(hostile)
    return whole[0]


def _places(holder: Any):
    """Yield every container with each of its keys."""
    for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
        yield holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key])


_MEMBERS = (
    "a.json",
    "b/c.json",
    "b",
    "b/",
    "B/c.json",
    "../out",
    "/out",
    "b/../../out",
    "b\\..\\..\\out",
    "C:out",
    ".",
    "",
    "b//d",
    "b/./e",
)
_NAMES = (
    *_MEMBERS,
    "x" * 300,
    "y/" * 3000 + "y",
    "\n",
    "e\u0301",
    "\udcff",
    "$(id)",
    "-rf",
    ".hidden",
)


@st.composite
def zips(draw) -> bytes:
    """Draw a zip file, damaged or whole.

    Names of members may leave the folder, clash or be invalid. Members may be links, have any
    compression and any size.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for _ in range(draw(st.integers(0, 4))):
            name = draw(st.sampled_from(_NAMES) | st.text(max_size=6))
            member = zipfile.ZipInfo("m")
            member.filename = name.encode("utf-8", "replace").decode()
            member.compress_type = draw(
                st.sampled_from(
                    (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
                )
            )
            kind = draw(
                st.sampled_from(
                    (
                        stat.S_IFREG,
                        stat.S_IFREG,
                        stat.S_IFREG,
                        stat.S_IFLNK,
                        stat.S_IFDIR,
                        stat.S_IFIFO,
                        0,
                    )
                )
            )
            member.external_attr = (kind | 0o644) << 16
            archive.writestr(
                member,
                draw(st.binary(max_size=30) | st.sampled_from((b"/etc/passwd", b"\0" * 100_000))),
            )
    data = buffer.getvalue()
    return draw(torn(data)) if draw(st.booleans()) else data


_MODES = (
    "1",
    "L",
    "LA",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "I;16",
    "F",
)


@st.composite
def pictures(draw) -> bytes:
    """Draw an image of any mode, format and size: whole, damaged, or with a false header."""
    kind = draw(st.sampled_from(("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")))
    size = draw(st.sampled_from(((16, 16), (16, 16), (9, 31), (1, 1), (8, 2000), (7, 9))))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (size[1], size[0], 3), dtype=np.uint8
    )
    image = Image.fromarray(values)
    for mode in (draw(st.sampled_from(_MODES)), "RGB"):
        buffer = io.BytesIO()
        try:
            image.convert(mode).save(buffer, kind)
            break
        except (ValueError, OSError):  # the format does not have this mode, so use RGB
            continue
    data = buffer.getvalue()
    match draw(st.sampled_from(("whole", "torn", "torn", "huge"))):
        case "torn":
            data = draw(torn(data))
        case "huge" if kind == "PNG":
            data = png_of_size(
                data,
                *(
                    draw(st.sampled_from((0, 1, 16, 60_000, 2**31 - 1, 2**32 - 1)))
                    for _ in range(2)
                ),
            )
    return data


def png_of_size(data: bytes, width: int, height: int) -> bytes:
    """Return a PNG whose header has another size than its pixels, with a matching checksum."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def png_is_sound(data: bytes) -> bool:
    """Return whether all chunks up to the last are complete and match their checksums."""
    at, kind = 8, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            return False
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        if data[at + 8 + length : at + 12 + length] != struct.pack(
            ">I", zlib.crc32(data[at + 4 : at + 8 + length])
        ):
            return False
        at += 12 + length
    return True
