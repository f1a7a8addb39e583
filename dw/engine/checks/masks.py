"""Masks: the files of a workflow that mask nothing, or are drawn where nothing reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.media.mask import BLACK, IN_ALPHA, is_black, is_drawn_in_alpha, is_mask
from dw.errors import DwError
from dw.pixels import open_image
from dw.workflow import Diagnostic, Document
from dw.workflow.media import is_url, media_places


def check_masks(document: Document) -> Iterator[Diagnostic]:
    """The diagnostics of all masks in files, also in sub-workflows."""
    access = FileAccess(document.path.parent, permissions=document.permissions)
    for path, place in media_places(document.filled()):
        if is_url(place) or not any(isinstance(key, str) and is_mask(key) for key in path):
            continue
        # Whether it is there and is an image is told elsewhere.
        with (
            suppress(DwError, OSError, ValueError, Image.DecompressionBombError),
            open_image(access.source(place)) as image,
        ):
            if is_drawn_in_alpha(image):
                yield document.diagnostic_at(path, IN_ALPHA)
            elif is_black(image.convert("RGB")):
                yield document.diagnostic_at(path, BLACK, "warning")
    for child in document.children.values():
        yield from check_masks(child)
