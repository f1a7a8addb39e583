"""What happens to the engine between two runs, and runs that end badly."""

from __future__ import annotations

from random import Random

from tests.walk.models import model_of
from tests.walk.world import World, loads_anything, loads_nothing


@loads_anything
def cancel(world: World, random: Random) -> None:
    """The run is cancelled at one of the places where it looks, and made again."""
    world.change(cut=("cancel", random.random()))


@loads_anything
def stop(world: World, random: Random) -> None:
    """A run is stopped early, and made again."""
    world.change(cut=("stop", random.random()))


@loads_anything
def clear(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "clear"))


@loads_nothing
def memory(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "memory"))


@loads_nothing
def check(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "check"))


@loads_nothing
def prepare(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "prepare"))


@loads_nothing
def recover(world: World, random: Random) -> None:
    """As after a run that ended badly."""
    world.change(commands=(*world.job.commands, "recover"))


@loads_nothing
def the_same_again(world: World, random: Random) -> None:
    del world, random


# -------------------------------------------------------------------- runs that fail


@loads_nothing
def misspelt_argument(world: World, random: Random) -> None:
    world.arguments["prommpt"] = "a cat"


@loads_nothing
def impossible_argument(world: World, random: Random) -> None:
    world.takes("num_inference_steps")
    world.arguments["num_inference_steps"] = "many"


@loads_nothing
def impossible_size(world: World, random: Random) -> None:
    """The call finds out about it when it has begun."""
    world.require("width" in world.arguments)
    world.arguments["width"] = 61


@loads_nothing
def missing_image(world: World, random: Random) -> None:
    world.require("image" in world.arguments)
    world.arguments["image"] = "nowhere.png"


@loads_nothing
def missing_model(world: World, random: Random) -> None:
    world.loads["model_name"] = "models/nowhere"


@loads_anything
def broken_weights(world: World, random: Random) -> None:
    """A file that is cut short, for one run."""
    world.require(not world.is_example)
    weights = sorted((world.root / world.loads.get("model_name", "")).glob("*/*.safetensors"))
    world.require(weights)
    path = random.choice(weights)
    before = path.read_bytes()

    def replace(content: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.replace(path)

    replace(before[: len(before) // 2])
    world.once(lambda _: replace(before))


@loads_nothing
def broken_lora(world: World, random: Random) -> None:
    world.require(world.model.takes_lora)
    path = world.root / "loras" / "broken.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"<html>not found</html>")
    world.pipeline.setdefault("loras", []).append({"model_name": "loras/broken.safetensors"})


@loads_nothing
def lora_of_another_family(world: World, random: Random) -> None:
    world.require(world.model.takes_lora and world.denoiser == "unet")
    path = model_of("stable-diffusion-3", world.root).lora("stranger")
    world.pipeline.setdefault("loras", []).append({"model_name": f"loras/{path.name}"})
