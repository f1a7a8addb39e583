"""What happens to the engine between two runs, and runs that end badly."""

from __future__ import annotations

from random import Random

from tests.walk.world import World, loads_anything, loads_nothing


@loads_anything
def cancel(world: World, random: Random) -> None:
    """The run is cancelled at one of the places where it looks, and made again."""
    world.change(cancel_at=random.random())


@loads_anything
def clear(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "clear"))


@loads_nothing
def memory(world: World, random: Random) -> None:
    world.change(commands=(*world.job.commands, "memory"))


@loads_nothing
def recover(world: World, random: Random) -> None:
    """As after a run that ended badly."""
    world.change(commands=(*world.job.commands, "recover"))


@loads_nothing
def the_same_again(world: World, random: Random) -> None:
    del world, random


@loads_nothing
def misspelt_argument(world: World, random: Random) -> None:
    arguments = world.arguments
    arguments["prommpt"] = "a cat"
    world.undo.append(lambda: arguments.pop("prommpt", None))


@loads_nothing
def impossible_argument(world: World, random: Random) -> None:
    """A value that the call finds out about when it has begun."""
    world.takes("num_inference_steps")
    arguments = world.arguments
    before = arguments.get("num_inference_steps", 2)
    arguments["num_inference_steps"] = "many"
    world.undo.append(lambda: arguments.update(num_inference_steps=before))


@loads_nothing
def impossible_size(world: World, random: Random) -> None:
    world.require("width" in world.arguments)
    arguments, before = world.arguments, world.arguments["width"]
    arguments["width"] = 61
    world.undo.append(lambda: arguments.update(width=before))


@loads_nothing
def missing_image(world: World, random: Random) -> None:
    world.require("image" in world.arguments)
    arguments, before = world.arguments, world.arguments["image"]
    arguments["image"] = "nowhere.png"
    world.undo.append(lambda: arguments.update(image=before))


@loads_nothing
def missing_model(world: World, random: Random) -> None:
    loads, before = world.loads, dict(world.loads)
    loads["model_name"] = "models/nowhere"
    world.undo.append(lambda: loads.update(before))


@loads_anything
def broken_weights(world: World, random: Random) -> None:
    """A file that is cut short, for one run."""
    world.require(not world.is_example)
    weights = sorted((world.root / world.loads.get("model_name", "")).glob("*/*.safetensors"))
    world.require(weights)
    path = random.choice(weights)
    before = path.read_bytes()
    new = path.with_suffix(".new")
    new.write_bytes(before[: len(before) // 2])
    new.replace(path)

    def mend() -> None:
        new.write_bytes(before)
        new.replace(path)

    world.undo.append(mend)


@loads_nothing
def broken_lora(world: World, random: Random) -> None:
    world.require(world.model.takes_lora)
    path = world.root / "loras" / "broken.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"<html>not found</html>")
    loras = world.pipeline.setdefault("loras", [])
    loras.append({"model_name": "loras/broken.safetensors"})
    world.undo.append(lambda: loras.pop())


@loads_nothing
def lora_of_another_family(world: World, random: Random) -> None:
    from tests.walk.models import model_of

    world.require(world.model.takes_lora and world.family != "stable-diffusion-3")
    path = model_of("stable-diffusion-3", world.root).lora("stranger")
    loras = world.pipeline.setdefault("loras", [])
    loras.append({"model_name": f"loras/{path.name}"})
    world.undo.append(lambda: loras.pop())
