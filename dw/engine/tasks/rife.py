"""RIFE: a network that interpolates between two images.

After Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", 2022, in
version 4.13: four stages, whose input is the colours and features of both images and the moment.
Versions 4.14, 4.15 and 4.17 to 4.19 are the same network. The modules have the names of the weights
in its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.model_loading_utils import load_state_dict
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate, leaky_relu, pad

from dw.errors import RunFailed

FEATURES = 8  # of each pixel
MULTIPLE = 32  # pixels; the coarsest stage works at an eighth of the size and halves it twice
SLOPE = 0.2  # of the activations below zero


class IFNet(nn.Module):
    """Interpolates images (1, 3, h, w) between two others, all from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        seen = 2 * (3 + FEATURES) + 1  # both images with their features, and the moment
        found = 5  # flow and mask of the previous stage
        self.encode = Encoder()
        self.block0 = Stage(seen, width=192, scale=8)
        self.block1 = Stage(seen + found, width=128, scale=4)
        self.block2 = Stage(seen + found, width=96, scale=2)
        self.block3 = Stage(seen + found, width=64, scale=1)

    @classmethod
    def from_single_file(cls, path: str, **_: Any) -> IFNet:
        """The network with the weights of a safetensors file or of a pickle of tensors only.

        Raises RunFailed for the weights of another network.
        """
        with torch.device("meta"):
            net = cls()
        weights, file = net.state_dict(), Path(path)
        found = _weights(file)
        for name, tensor in weights.items():
            if getattr(found.get(name), "shape", None) != tensor.shape:
                raise RunFailed(
                    f"{file.name} is not RIFE 4.13: {name!r} is missing or has another shape"
                )
            weights[name] = found[name].float()
        net.load_state_dict(weights, assign=True)
        return net

    def forward(self, first: Tensor, second: Tensor, moments: Iterable[float]) -> Iterator[Tensor]:
        """An image for each of the moments, from 0 (`first`) to 1 (`second`), computed when it is
        consumed."""
        height, width = first.shape[2:]
        images = torch.cat([first, second])
        margin = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        images = pad(images, margin, mode="replicate")
        features = self.encode(images)
        made = (self._between(images, features, moment) for moment in moments)
        return (image[..., :height, :width] for image in made)

    def _between(self, images: Tensor, features: Tensor, moment: float) -> Tensor:
        """Each stage gets both images warped to the moment by the flow so far, and corrects it."""
        time = torch.full_like(images[:1, :1], moment)
        flow, mask = self.block0(torch.cat([_beside(images), _beside(features), time], 1), None)
        for stage in (self.block1, self.block2, self.block3):
            moved = _beside(_moved(images, flow)), _beside(_moved(features, flow))
            change, mask = stage(torch.cat([*moved, time, mask], 1), flow)
            flow = flow + change
        ends = _moved(images, flow)
        return torch.lerp(ends[1:], ends[:1], mask.sigmoid())


class Encoder(nn.Module):
    """Features of each pixel, by which the stages match it in the other image."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.cnn0 = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.cnn1 = nn.Conv2d(width, width, 3, padding=1)
        self.cnn2 = nn.Conv2d(width, width, 3, padding=1)
        self.cnn3 = nn.ConvTranspose2d(width, FEATURES, 4, stride=2, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            images = leaky_relu(layer(images), SLOPE)
        found: Tensor = self.cnn3(images)
        return found


class Stage(nn.Module):
    """An estimate from maps `scale` times smaller: the flow (1, 4, h, w), the offsets (x, y) in
    pixels from the moment to the first image and to the second; and the mask (1, 1, h, w), the
    logit of the first image's weight."""

    def __init__(self, channels: int, width: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv0 = nn.Sequential(_halving(channels, width // 2), _halving(width // 2, width))
        self.convblock = nn.Sequential(*(Residual(width) for _ in range(8)))
        # 6 channels after the pixel shuffle; the last is unused.
        last = nn.ConvTranspose2d(width, 4 * 6, 4, stride=2, padding=1)
        self.lastconv = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, seen: Tensor, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        seen = _resized(seen, 1 / self.scale)
        if flow is not None:
            seen = torch.cat([seen, _resized(flow, 1 / self.scale) / self.scale], 1)
        found = self.lastconv(self.convblock(self.conv0(seen)))
        found = _resized(found, self.scale)
        return found[:, :4] * self.scale, found[:, 4:5]


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.conv(x) * self.beta + x, SLOPE)


def _halving(channels: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE))


def _resized(maps: Tensor, factor: float) -> Tensor:
    return interpolate(maps, scale_factor=factor, mode="bilinear")


def _beside(maps: Tensor) -> Tensor:
    """(2, c, h, w) as (1, 2 * c, h, w)."""
    return maps.flatten(0, 1)[None]


def _moved(maps: Tensor, flow: Tensor) -> Tensor:
    """Each of two maps (2, c, h, w) sampled at the places to which the flow (1, 4, h, w) points."""
    height, width = maps.shape[2:]
    rows = torch.arange(height, device=maps.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=maps.device).expand(height, width)
    x, y = (torch.stack([columns, rows]) + flow.view(2, 2, height, width)).unbind(1)
    places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return grid_sample(maps, places.clamp(-1, 1), align_corners=True)


def _weights(file: Path) -> Mapping[str, Any]:
    """Tensors by their names in the network. Raises RunFailed for a pickle of anything else."""
    try:
        found = load_state_dict(str(file))
    except OSError as error:
        message = f"cannot read {file.name}: not a file of weights only"
        raise RunFailed(message) from error
    if not isinstance(found, Mapping):
        return {}
    return {str(name).removeprefix("module."): value for name, value in found.items()}
