"""The network that draws the images between two others."""

from __future__ import annotations

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dw.engine.tasks.rife import IFNet
from dw.errors import RunFailed


def shapes() -> dict[str, Tensor]:
    with torch.device("meta"):
        return IFNet().state_dict()


@cache
def swinging() -> dict[str, Tensor]:
    """Weights around zero, which move an image by a few pixels."""
    weights = {}
    for index, (name, shape) in enumerate(sorted(shapes().items())):
        swing = (torch.arange(shape.numel()).double() * 0.7 + index).sin().view_as(shape)
        weights[name] = (swing * (0.6 / shape[0].numel()) ** 0.5).float()
    return weights


def network(weights: dict[str, Tensor]) -> IFNet:
    with torch.device("meta"):
        net = IFNet()
    net.load_state_dict(weights, assign=True)
    return net.requires_grad_(False)


def test_it_draws_what_the_published_network_does() -> None:
    # The numbers were made by another implementation, of the same weights.
    published = (
        "0.82360 0.80117 0.67192 0.44400 0.40662 0.50316 0.74514 0.24543 0.42573 0.25371 0.61465 "
        "0.71715 0.82341 0.80131 0.67260 0.44475 0.40909 0.50779 0.76802 0.22269 0.42945 0.25030 "
        "0.62291 0.71627"
    )
    numbers = torch.arange(3 * 32 * 64).double().view(1, 3, 32, 64)
    first = (numbers * 0.03).sin().float() / 2 + 0.5
    second = (numbers * 0.037).cos().float() / 2 + 0.5
    made = torch.cat([*network(swinging())(first, second, [0.25, 0.75])])
    expected = pytest.approx([float(number) for number in published.split()], abs=1e-4)
    assert made[:, 0, ::13, ::21].flatten().tolist() == expected


class TestByHand:
    """With weights of zero there is what the biases say."""

    WHITE, BLACK = torch.ones(1, 3, 32, 40), torch.zeros(1, 3, 32, 40)

    @pytest.fixture
    def net(self) -> IFNet:
        return network({name: torch.zeros(each.shape) for name, each in shapes().items()})

    @pytest.mark.parametrize("size", [(32, 32), (40, 50), (1, 1), (17, 65)])
    def test_two_images_that_do_not_move_are_mixed(self, net: IFNet, size: tuple[int, int]) -> None:
        first, second = torch.rand(2, 1, 3, *size)
        [made] = net(first, second, [0.5])
        torch.testing.assert_close(made, (first + second) / 2, atol=1e-4, rtol=0)

    def test_the_mask_says_which_of_the_two_is_seen(self, net: IFNet) -> None:
        net.block3.lastconv[0].bias[16:20] = 2.0
        [made] = net(self.WHITE, self.BLACK, [0.5])
        torch.testing.assert_close(made, torch.full_like(made, 2).sigmoid())

    def test_the_flow_says_where_in_them(self, net: IFNet) -> None:
        bias = net.block0.lastconv[0].bias  # of the stage that sees an eighth, four for each value
        bias[0:4], bias[4:8] = 0.5, 0.25  # in the first: 4 pixels to the right, 2 down
        net.block3.lastconv[0].bias[16:20] = 50  # which is the one that is seen
        image = torch.rand(1, 3, 32, 40)
        [made] = net(image, self.BLACK, [0.5])
        torch.testing.assert_close(made[..., :30, :36], image[..., 2:, 4:], atol=1e-4, rtol=0)

    def test_what_is_out_of_the_image_is_its_edge(self, net: IFNet) -> None:
        net.block0.lastconv[0].bias[0:8] = -100
        net.block3.lastconv[0].bias[16:20] = 50
        image = torch.rand(1, 3, 32, 32)
        [made] = net(image, self.BLACK[..., :32], [0.5])
        assert torch.equal(made, image[..., :1, :1].expand_as(made))


class TestFiles:
    @pytest.mark.parametrize("name", ["rife.safetensors", "rife.pth", "flownet.pkl"])
    def test_weights_are_read(self, tmp_path: Path, name: str) -> None:
        weights = swinging()
        if name == "flownet.pkl":  # as the authors' own are: of several GPUs, with what trained it
            weights = {f"module.{name}": tensor for name, tensor in weights.items()}
            weights["module.teacher.weight"] = torch.zeros(1)
        save = save_file if name.endswith(".safetensors") else torch.save
        save(weights, tmp_path / name)
        read = IFNet.from_single_file(str(tmp_path / name), torch_dtype=torch.float32).state_dict()
        assert read.keys() == swinging().keys()
        assert all(torch.equal(tensor, swinging()[name]) for name, tensor in read.items())

    def test_halves_are_made_whole(self, tmp_path: Path) -> None:
        halves = {name: tensor.half() for name, tensor in swinging().items()}
        save_file(halves, tmp_path / "rife.safetensors")
        read = IFNet.from_single_file(str(tmp_path / "rife.safetensors"))
        assert {tensor.dtype for tensor in read.state_dict().values()} == {torch.float32}

    @pytest.mark.parametrize(
        "content", [{}, {"encode.cnn0.weight": torch.zeros(16, 3, 3, 3)}, [1, 2], {3: "three"}]
    )
    def test_another_network_is_refused(self, tmp_path: Path, content: Any) -> None:
        torch.save(content, tmp_path / "rife.pth")
        with pytest.raises(RunFailed) as caught:
            IFNet.from_single_file(str(tmp_path / "rife.pth"))
        assert caught.value.message == (
            "rife.pth is not RIFE 4.13: 'encode.cnn0.weight' is missing or has another shape"
        )

    @pytest.mark.parametrize("name", ["rife.pkl", "rife.safetensors"])
    def test_a_pickle_that_runs_code_does_not(self, tmp_path: Path, name: str) -> None:
        class Breakout:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "broken_out",)

        (tmp_path / name).write_bytes(pickle.dumps(Breakout()))
        with pytest.raises(RunFailed) as caught:
            IFNet.from_single_file(str(tmp_path / name))
        assert caught.value.message == (f"cannot read {name}: not a file of weights only")
        assert not (tmp_path / "broken_out").exists()
