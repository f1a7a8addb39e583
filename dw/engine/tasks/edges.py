"""Edge detection after Canny, "A Computational Approach to Edge Detection", 1986."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from dw.engine.tasks.registry import task

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@task()
def canny_cv(
    image: Image.Image, low_threshold: float = 100, high_threshold: float = 200
) -> Image.Image:
    """White edges on black, RGB. The thresholds are of |gx| + |gy| with Sobel's weights on grey
    from 0 to 255, as OpenCV's are: an edge begins above the high one and goes on above the low
    one."""
    gx, gy = _sobel(np.asarray(image.convert("L"), dtype=np.float32))
    strength = np.abs(gx) + np.abs(gy)  # (height, width)
    ridge = _thinned(strength, gx, gy)
    edges = _connected(ridge & (strength > high_threshold), ridge & (strength > low_threshold))
    return Image.fromarray(edges.astype(np.uint8) * 255).convert("RGB")


def _sobel(grey: Array) -> tuple[Array, Array]:
    """Horizontal and vertical gradient (height, width), the border repeated outwards."""
    p = np.pad(grey, 1, mode="edge")
    right, left = p[:, 2:], p[:, :-2]
    down, up = p[2:, :], p[:-2, :]
    across, along = right - left, down - up
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = along[:, :-2] + 2 * along[:, 1:-1] + along[:, 2:]
    return gx, gy


def _thinned(strength: Array, gx: Array, gy: Array) -> Mask:
    """Where the strength is the largest along its gradient, in the nearest of four directions.

    Of two equal neighbours the first is kept, so that an edge is one pixel wide.
    """
    p = np.pad(strength, 1)
    height, width = strength.shape

    def neighbour(dy: int, dx: int) -> Array:
        return p[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]

    steep = np.abs(gy) > np.abs(gx) * 2.4142135  # tan 67.5 degrees
    flat = np.abs(gy) < np.abs(gx) * 0.4142135  # tan 22.5 degrees
    falls = (gx * gy) > 0  # the gradient points down right or up left
    directions = [(flat, (0, -1), (0, 1)), (steep, (-1, 0), (1, 0))]
    rest = ~flat & ~steep
    directions += [(rest & falls, (-1, -1), (1, 1)), (rest & ~falls, (-1, 1), (1, -1))]
    ridge = np.zeros(strength.shape, dtype=np.bool_)
    for where, before, after in directions:
        ridge |= where & (strength > neighbour(*before)) & (strength >= neighbour(*after))
    return ridge


def _connected(strong: Mask, weak: Mask) -> Mask:
    """The weak pixels that hang together with a strong one over weak ones, by any of eight
    neighbours."""
    height, width = weak.shape
    edges = strong.copy()
    frontier = list(zip(*np.nonzero(strong), strict=True))
    while frontier:
        y, x = frontier.pop()
        for ny in range(max(0, y - 1), min(height, y + 2)):
            for nx in range(max(0, x - 1), min(width, x + 2)):
                if weak[ny, nx] and not edges[ny, nx]:
                    edges[ny, nx] = True
                    frontier.append((ny, nx))
    return edges
