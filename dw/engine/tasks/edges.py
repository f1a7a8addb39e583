"""The command that finds edges without a model."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dw.engine.tasks.registry import task
from dw.extras import needing


@task()
def canny_cv(
    image: Image.Image, low_threshold: float = 100, high_threshold: float = 200
) -> Image.Image:
    """White edges on black with OpenCV's Canny, as ControlNets were trained on: an edge begins
    above the high threshold of the gradient and goes on above the low one."""
    with needing("cv2"):
        import cv2
    edges = cv2.Canny(np.asarray(image.convert("RGB")), low_threshold, high_threshold)
    return Image.fromarray(edges).convert("RGB")
