"""Face restoration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.media.image import rgb
from dw.engine.patches.progress_bars import counting
from dw.engine.tasks.arguments import Count, Positive
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task
from dw.engine.tasks.upscale import Upscaler
from dw.extras import needing
from dw.settings import cache_dir


class FaceFinder(torch.nn.Module):
    """facexlib's helper: finds faces, crops them upright and pastes them back. It downloads its two
    networks from its own releases; torch reports the progress."""

    def __init__(self, helper: Any) -> None:
        super().__init__()
        self.helper = helper
        self.networks = torch.nn.ModuleList([helper.face_det, helper.face_parse])

    @classmethod
    def from_pretrained(cls, _folder: str, *, face_size: int, **_: Any) -> FaceFinder:
        with needing("facexlib"):
            from facexlib.utils.face_restoration_helper import FaceRestoreHelper
        weights = cache_dir() / "facexlib"
        weights.mkdir(parents=True, exist_ok=True)
        return cls(
            FaceRestoreHelper(1, face_size=face_size, device="cpu", model_rootpath=str(weights))
        )

    def to(self, device: Any) -> FaceFinder:  # type: ignore[override]
        detector = self.helper.face_det
        detector.device = self.helper.device = torch.device(device)
        detector.mean_tensor = detector.mean_tensor.to(device)
        super().to(device)
        return self


def _restorer(arguments: Mapping[str, Any]) -> TaskParts:
    from dw.rehearsal.task_stand_ins import Enlarger, FaceCutter

    size = (("face_size", arguments["face_size"]),)
    files = (arguments["filename"],)
    return {
        "model": TaskPart(Upscaler, arguments["model_name"], Enlarger, files=files),
        "finder": TaskPart(FaceFinder, None, FaceCutter, options=size),
    }


@task(models=_restorer)
def restore_faces(
    image: Image.Image,
    model_name: str,
    filename: str | None = None,
    upscale_factor: Positive = 1,
    face_size: Positive = 512,
    use_parse: bool = True,
    only_center_face: bool = False,
    detection_resize: Positive = 640,
    eye_dist_threshold: Count = 5,
    upsample_img: Image.Image | None = None,
    *,
    context: TaskContext,
) -> Image.Image:
    """The image with its faces restored by GFPGAN, RestoreFormer or CodeFormer: `filename` in the
    hub id `model_name`, or a file. Faces are pasted into `upsample_img`, or into the image itself,
    enlarged `upscale_factor` times. `use_parse`: blend along the face's outline, not its square."""
    helper = context.models["finder"].helper
    helper.clean_all()
    helper.upscale_factor, helper.use_parse = upscale_factor, use_parse
    helper.read_image(_bgr(image))
    helper.get_face_landmarks_5(
        only_center_face=only_center_face,
        resize=detection_resize,
        eye_dist_threshold=eye_dist_threshold,
    )
    helper.align_warp_face()
    for face in counting(helper.cropped_faces, "face"):
        helper.add_restored_face(_restored(face, context))
    helper.get_inverse_affine()
    around = None if upsample_img is None else _bgr(upsample_img)
    return Image.fromarray(_flipped(helper.paste_faces_to_input_image(upsample_img=around)))


def _restored(face: Any, context: TaskContext) -> Any:
    """The restored face (h, w, 3) of a face, both in blue, green, red."""
    pixels = torch.from_numpy(_flipped(face).astype(np.float32) / 255).permute(2, 0, 1)[None]
    made = context.models["model"](context.on_device(pixels))[0].clamp(0, 1).cpu()
    return _flipped((made.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))


def _bgr(image: Image.Image) -> Any:
    return _flipped(np.asarray(rgb(image)))


def _flipped(colours: Any) -> Any:
    """RGB to OpenCV's BGR, and back."""
    return np.ascontiguousarray(colours[..., ::-1])
