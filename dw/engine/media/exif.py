"""EXIF: a block that holds one comment, as image tools write their prompts."""

from __future__ import annotations

import json
import re
import struct

from dw.origins import EXIF_IFD, MAKER_NOTE, USER_COMMENT

UNDEFINED, LONG = 7, 4
"""Types of values. Pillow gives the comment the type BYTE, with which neither exiv2 nor piexif
finds its characters."""

VERSION = 0x9000

LONGEST_IN_JPEG = 65_533
"""Bytes of a block: the length of a JPEG segment has 16 bits and counts itself."""

_HEADER = b"Exif\0\0"
_IFD = 26  # the offset of the directory that holds the comment
_BEYOND_UCS_2 = re.compile("[\U00010000-\U0010ffff]")


def comment_block(text: str | None, note: str = "") -> bytes:
    """An EXIF block whose only content is a text as UserComment (Exif 2.32, 4.6.5), and `note`,
    which is ASCII, as MakerNote (4.6.5): the type UNDEFINED, for the comment eight bytes that name
    the code, then UTF-16 in the byte order of the block.

    exiv2 takes it for UCS-2, so that characters of two units are written as JSON escapes.
    """
    values = {MAKER_NOTE: note.encode()} if note else {}
    if text is not None:
        text = _BEYOND_UCS_2.sub(lambda found: json.dumps(found[0])[1:-1], text)
        values[USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    root = struct.pack(">HHHLLL", 1, EXIF_IFD, LONG, 1, _IFD, 0)
    entries = struct.pack(">HHHL4s", 1 + len(values), VERSION, UNDEFINED, 4, b"0232")
    end = _IFD + 2 + (1 + len(values)) * 12 + 4
    for tag, value in values.items():
        entries += struct.pack(">HHLL", tag, UNDEFINED, len(value), end)
        end += len(value)
    data = b"".join(values.values())
    return _HEADER + b"MM\0*" + struct.pack(">L", 8) + root + entries + bytes(4) + data
