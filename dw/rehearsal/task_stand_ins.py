"""Stand-ins for task models of other libraries: they load nothing, and their images have the sizes
and modes of the real ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from PIL import Image, ImageFilter, ImageOps


class StandIn(torch.nn.Module):
    """Constructed instead of loaded, by either name of a loader."""

    def __init__(self, _name: str = "", **_: Any) -> None:
        super().__init__()

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> StandIn:
        return cls(name, **options)

    from_single_file = from_pretrained


class Enlarger(StandIn):
    """An upscaler with the factor in the model's name, `RealESRGAN_x4plus.pth` or `2x-...`."""

    def __init__(self, name: str = "", **_: Any) -> None:
        super().__init__()
        scale = re.search(r"x([2-8])|([2-8])x", Path(name).name.lower())
        is_of_faces = re.search("gfpgan|codeformer|restoreformer", name.lower())
        self.scale = int(scale[1] or scale[2]) if scale else 1 if is_of_faces else 4

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(pixels, scale_factor=self.scale, mode="nearest")


class Blender(StandIn):
    """A frame interpolator: it fades the first image into the second."""

    def forward(
        self, first: torch.Tensor, second: torch.Tensor, moments: Iterable[float]
    ) -> Iterator[torch.Tensor]:
        return (torch.lerp(first, second, moment) for moment in moments)


class Cutter(StandIn):
    """A background remover: bright pixels are the foreground."""

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return [pixels.mean(dim=1, keepdim=True)]


class Sketcher(StandIn):
    """A detector of controlnet-aux: edges, in the output size of most of its detectors."""

    multiple: ClassVar[int] = 64  # pixels

    def forward(self, image: Image.Image, **options: Any) -> Image.Image:
        scale = options.get("image_resolution", 512) / min(image.size)
        size = [max(1, round(side * scale / self.multiple)) * self.multiple for side in image.size]
        return image.resize((size[0], size[1])).filter(ImageFilter.FIND_EDGES)


class FaceCutter(StandIn):
    """facexlib's helper, which finds one face: the center of the image."""

    def __init__(self, _name: str = "", *, face_size: int = 512, **_: Any) -> None:
        super().__init__()
        self.helper = _Helper(face_size)


class _Helper(SimpleNamespace):
    def __init__(self, face_size: int) -> None:
        super().__init__(face_size=face_size, upscale_factor=1, cropped_faces=[])

    def clean_all(self) -> None:
        self.cropped_faces: list[Any] = []
        self.restored: list[Any] = []

    def read_image(self, image: Any) -> None:
        self.image = Image.fromarray(image)

    def get_face_landmarks_5(self, **_: Any) -> None: ...

    def align_warp_face(self) -> None:
        import numpy as np

        size = (self.face_size, self.face_size)
        self.cropped_faces = [np.asarray(ImageOps.fit(self.image, size))]

    def get_inverse_affine(self) -> None: ...

    def add_restored_face(self, face: Any) -> None:
        self.restored.append(face)

    def paste_faces_to_input_image(self, upsample_img: Any) -> Any:
        import numpy as np

        image = self.image if upsample_img is None else Image.fromarray(upsample_img)
        size = tuple(side * self.upscale_factor for side in self.image.size)
        image = image.resize(size)
        for face in self.restored:
            half = min(size) // 2
            small = Image.fromarray(face).resize((half, half))
            image.paste(small, ((size[0] - half) // 2, (size[1] - half) // 2))
        return np.asarray(image)
