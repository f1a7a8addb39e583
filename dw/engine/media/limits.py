"""Limits: the longest sides that the formats of images and videos hold."""

from __future__ import annotations

LONGEST_SIDE = {
    "image/jpeg": 65_500,  # libjpeg's JPEG_MAX_DIMENSION; the format itself has 65,535
    "image/webp": 16_383,
    "image/gif": 65_535,
    "video/mp4": 16_384,  # x264's; VP9 has more
    "video/quicktime": 16_384,
    "video/x-matroska": 16_384,
    "video/webm": 65_536,
}
"""Pixels, by content type; the others hold more than a host can."""


def side_error(width: int, height: int, content_type: str) -> str | None:
    """Why a file of this type cannot have this size."""
    longest = LONGEST_SIDE.get(content_type)
    if longest is None or max(width, height) <= longest:
        return None
    return (
        f"{content_type} holds at most {longest} pixels a side, got {width}x{height}; "
        f"{'video/webm' if content_type.startswith('video/') else 'image/png'} holds more"
    )
