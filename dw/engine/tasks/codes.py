"""QR codes."""

from __future__ import annotations

import numpy as np
import segno
from PIL import Image

from dw.engine.tasks.arguments import Side
from dw.engine.tasks.registry import task
from dw.engine.tasks.resize import aligned
from dw.errors import RunFailed

QUIET = 4  # modules of white around the code, required by the standard


@task()
def qr_code(qr_code_contents: str, width: Side = 768, height: Side = 768) -> Image.Image:
    """A square QR code, black on white, with the strongest error correction: nearly a third of it
    may be painted over. Its side is the larger of `width` and `height`, rounded to a multiple of
    64."""
    try:
        code = segno.make_qr(qr_code_contents, error="h", boost_error=False)
    except segno.DataOverflowError:
        raise RunFailed(
            f"a QR code cannot hold {len(qr_code_contents)} characters; about 1000 fit"
        ) from None
    modules = np.array(list(code.matrix_iter(border=QUIET)), dtype=np.uint8)
    image = Image.fromarray(255 * (1 - modules)).convert("RGB")
    side = max(width, height)
    return image.resize(aligned(side, side), Image.Resampling.NEAREST)
