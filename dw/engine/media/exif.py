"""EXIF: a block that holds one comment, as image tools write their prompts."""

from __future__ import annotations

import json
import re
import struct

UNDEFINED, LONG = 7, 4
"""Types of values. Pillow gives the comment the type BYTE, with which neither exiv2 nor piexif
finds its characters."""

EXIF_IFD, VERSION, USER_COMMENT = 0x8769, 0x9000, 0x9286

LONGEST_IN_JPEG = 65_533
"""Bytes of a block: the length of a JPEG segment has 16 bits and counts itself."""

_HEADER = b"Exif\0\0"
_IFD = 26  # the offset of the directory that holds the comment
_DATA = _IFD + 2 + 2 * 12 + 4


_BEYOND_UCS_2 = re.compile("[\U00010000-\U0010ffff]")


def comment_block(text: str) -> bytes:
    """An EXIF block whose only content is a JSON text as UserComment (Exif 2.32, 4.6.5): the type
    UNDEFINED, eight bytes that name the code, then UTF-16 in the byte order of the block.

    exiv2 takes it for UCS-2, so that characters of two units are written as JSON escapes.
    """
    text = _BEYOND_UCS_2.sub(lambda found: json.dumps(found[0])[1:-1], text)
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    root = struct.pack(">HHHLLL", 1, EXIF_IFD, LONG, 1, _IFD, 0)
    entries = struct.pack(">HHHL4s", 2, VERSION, UNDEFINED, 4, b"0232")
    entries += struct.pack(">HHLLL", USER_COMMENT, UNDEFINED, len(comment), _DATA, 0)
    return _HEADER + b"MM\0*" + struct.pack(">L", 8) + root + entries + comment
