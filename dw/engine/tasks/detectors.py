"""Detectors: edges, lines, depth and poses of an image, as input of ControlNets.

OpenCV's Canny, and a table of the detectors of controlnet-aux with the files that each needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.media.image import rgb
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task
from dw.extras import needing

ANNOTATORS = "lllyasviel/Annotators"


@task()
def canny_cv(
    image: Image.Image, low_threshold: float = 100, high_threshold: float = 200
) -> Image.Image:
    """White edges on black by OpenCV's Canny, as in the training of ControlNets. An edge starts
    above the high threshold of the gradient and continues above the low one."""
    with needing("cv2"):
        import cv2
    edges = cv2.Canny(np.asarray(rgb(image)), low_threshold, high_threshold)
    return Image.fromarray(edges).convert("RGB")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A class of controlnet-aux, what it finds, and its weights; some need none."""

    cls: str
    finds: str
    files: tuple[str, ...] = ()
    repository: str = ANNOTATORS
    options: tuple[tuple[str, Any], ...] = ()  # of each call


DETECTORS = {
    "canny": Declaration("CannyDetector", "edges, without a model"),
    "zoe": Declaration("ZoeDetector", "depth, by ZoeDepth", ("ZoeD_M12_N.pt",)),
    "midas": Declaration("MidasDetector", "depth, by MiDaS", ("dpt_hybrid-midas-501f0c75.pt",)),
    "leres": Declaration("LeresDetector", "depth, by LeReS", ("res101.pth", "latest_net_G.pth")),
    "normal_bae": Declaration("NormalBaeDetector", "surface normals", ("scannet.pt",)),
    "mlsd": Declaration("MLSDdetector", "straight lines", ("mlsd_large_512_fp32.pth",)),
    "lineart": Declaration("LineartDetector", "a drawing", ("sk_model.pth", "sk_model2.pth")),
    "lineart_standard": Declaration("LineartStandardDetector", "a drawing, without a model"),
    "hed": Declaration("HEDdetector", "soft edges, by HED", ("ControlNetHED.pth",)),
    "scribble": Declaration(
        "HEDdetector", "scribbles", ("ControlNetHED.pth",), options=(("scribble", True),)
    ),
    "pidi": Declaration("PidiNetDetector", "soft edges, by PiDiNet", ("table5_pidinet.pth",)),
    "teed": Declaration("TEEDdetector", "edges, by TEED", ("5_model.pth",), "fal-ai/teed"),
    "anyline": Declaration(
        "AnylineDetector", "lines of any kind", ("Anyline/MTEED.pth",), "TheMistoAI/MistoLine"
    ),
    "shuffle": Declaration("ContentShuffleDetector", "the image's colours, shuffled"),
    "openpose": Declaration(
        "OpenposeDetector",
        "poses, by OpenPose",
        ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth"),
    ),
    "dw_pose": Declaration("DWposeDetector", "poses, by DWPose, which needs mmpose"),
    "sam": Declaration(
        "SamDetector",
        "all objects, each in its own colour",
        ("checkpoints/sam_vit_h_4b8939.pth",),
        "ybelkada/segment-anything",
    ),
}


class Detector(torch.nn.Module):
    """A detector of controlnet-aux whose networks are registered with torch: they move with it, and
    memory reports count them."""

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector
        self.networks = torch.nn.ModuleList(_networks(detector))

    @classmethod
    def from_single_file(cls, path: str, *, detector: str, **_: Any) -> Detector:
        """A detector with the weights in the file and those beside it."""
        loader: Any = _library_class(detector).from_pretrained
        takes_name = "filename" in loader.__code__.co_varnames
        name = {"filename": Path(path).name} if takes_name else {}
        return cls(loader(str(Path(path).parent), **name))

    @classmethod
    def from_pretrained(cls, _folder: str, *, detector: str, **_: Any) -> Detector:
        """A detector without weights."""
        return cls(_library_class(detector)())

    def forward(self, image: Image.Image, **options: Any) -> Image.Image:
        found: Image.Image = self.detector(image, output_type="pil", **options)
        return found


def _library_class(name: str) -> Any:
    with needing("controlnet_aux"):
        import controlnet_aux
    if name == "DWposeDetector":
        with needing("mmpose"):
            import mmpose  # noqa: F401  # controlnet_aux imports it only when the detector is called
    return getattr(controlnet_aux, name)


def _networks(holder: Any, depth: int = 2) -> Iterator[torch.nn.Module]:
    """The modules in the attributes of an object and of the objects in them."""
    for value in vars(holder).values():
        if isinstance(value, torch.nn.Module):
            yield value
        elif depth and hasattr(value, "__dict__") and not isinstance(value, type):
            yield from _networks(value, depth - 1)


def _command(name: str, declared: Declaration) -> Callable[..., Image.Image]:
    def models(arguments: Mapping[str, Any]) -> TaskParts:
        from dw.rehearsal.task_stand_ins import Sketcher

        source = arguments["model_name"] if declared.files else None
        options = (("detector", declared.cls),)
        return {"model": TaskPart(Detector, source, Sketcher, declared.files, options=options)}

    def detect(
        image: Image.Image,
        model_name: str = declared.repository,
        *,
        context: TaskContext,
        **options: Any,
    ) -> Image.Image:
        given = {**dict(declared.options), **options}
        found: Image.Image = context.models["model"](rgb(image), **given)
        return found

    detect.__name__ = name
    finds = declared.finds[0].upper() + declared.finds[1:]
    detect.__doc__ = f"{finds}. Further arguments go to {declared.cls}."
    return task(models=models)(detect)


for _name, _declared in DETECTORS.items():
    _command(_name, _declared)
