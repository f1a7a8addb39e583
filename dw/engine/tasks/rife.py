"""RIFE: the network that draws the pictures between two others.

After Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", 2022, in
the form of version 4.13: four stages, which see features of the pictures beside their colours, and
the moment. Versions 4.14, 4.15 and 4.17 to 4.19 are the same network. The modules have the names
that the weights have in its files.
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

FEATURES = 8  # of each pixel of a picture
MULTIPLE = 32  # pixels; the coarsest stage sees an eighth of them and makes a quarter of that
SLOPE = 0.2  # of the activations, below zero


class IFNet(nn.Module):
    """Pictures (1, 3, h, w) between two others, all from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        seen = 2 * (3 + FEATURES) + 1  # both pictures with their features, and the moment
        found = 5  # flow and mask of the stage before
        self.encode = Encoder()
        self.block0 = Stage(seen, width=192, scale=8)
        self.block1 = Stage(seen + found, width=128, scale=4)
        self.block2 = Stage(seen + found, width=96, scale=2)
        self.block3 = Stage(seen + found, width=64, scale=1)

    @classmethod
    def from_single_file(cls, path: str, **_: Any) -> IFNet:
        """The network with the weights of a file, safetensors or a pickle that holds nothing else.

        Raises RunFailed when they are another network's.
        """
        with torch.device("meta"):
            net = cls()
        weights, file = net.state_dict(), Path(path)
        found = _weights(file)
        for name, tensor in weights.items():
            if getattr(found.get(name), "shape", None) != tensor.shape:
                raise RunFailed(
                    f"{file.name} is not RIFE 4.13: its {name!r} is missing or of another shape"
                )
            weights[name] = found[name].float()
        net.load_state_dict(weights, assign=True)
        return net

    def forward(self, first: Tensor, second: Tensor, moments: Iterable[float]) -> Iterator[Tensor]:
        """One picture for each of the moments, which are between 0, the first, and 1. It is drawn
        when it is asked for."""
        height, width = first.shape[2:]
        images = torch.cat([first, second])
        margin = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        images = pad(images, margin, mode="replicate")
        features = self.encode(images)
        made = (self._between(images, features, moment) for moment in moments)
        return (image[..., :height, :width] for image in made)

    def _between(self, images: Tensor, features: Tensor, moment: float) -> Tensor:
        """Each stage sees both as the flow so far moves them to the moment, and corrects it."""
        time = torch.full_like(images[:1, :1], moment)
        flow, mask = self.block0(torch.cat([_beside(images), _beside(features), time], 1), None)
        for stage in (self.block1, self.block2, self.block3):
            moved = _beside(_moved(images, flow)), _beside(_moved(features, flow))
            change, mask = stage(torch.cat([*moved, time, mask], 1), flow)
            flow = flow + change
        ends = _moved(images, flow)
        return torch.lerp(ends[1:], ends[:1], mask.sigmoid())


class Encoder(nn.Module):
    """What there is at each pixel of a picture, for finding it again in another."""

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
    """An estimate, made from maps `scale` times smaller: the flow (1, 4, h, w), which is how many
    pixels to the right and down what is seen at the moment lies in the first picture, then in the
    second; and the mask (1, 1, h, w), the logit of showing the first."""

    def __init__(self, channels: int, width: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv0 = nn.Sequential(_halving(channels, width // 2), _halving(width // 2, width))
        self.convblock = nn.Sequential(*(Residual(width) for _ in range(8)))
        # 6 channels when the pixels are shuffled; the last is not used.
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
    """Each of two maps (2, c, h, w) with what is where the flow (1, 4, h, w) leads."""
    height, width = maps.shape[2:]
    rows = torch.arange(height, device=maps.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=maps.device).expand(height, width)
    x, y = (torch.stack([columns, rows]) + flow.view(2, 2, height, width)).unbind(1)
    places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return grid_sample(maps, places.clamp(-1, 1), align_corners=True)


def _weights(file: Path) -> Mapping[str, Any]:
    """By their names in the network. Raises RunFailed for a pickle that holds anything else."""
    try:
        found = load_state_dict(str(file))
    except OSError as error:
        message = f"cannot read {file.name}: it holds no weights, or more than weights"
        raise RunFailed(message) from error
    if not isinstance(found, Mapping):
        return {}
    return {str(name).removeprefix("module."): value for name, value in found.items()}
