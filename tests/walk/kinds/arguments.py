"""Edits of a call: its arguments and its seeds. None of them loads a model."""

from __future__ import annotations

from random import Random

from tests.walk.world import World, loads_nothing


@loads_nothing
def prompt(world: World, random: Random) -> None:
    world.require("prompt" in world.arguments)
    world.arguments["prompt"] = random.choice(["a red cat", "a blue house", "", "ünïcode 日本 🎨"])


@loads_nothing
def long_prompt(world: World, random: Random) -> None:
    world.require("prompt" in world.arguments)
    world.arguments["prompt"] = "a fox over a dog, " * random.randint(5, 30)


@loads_nothing
def two_prompts(world: World, random: Random) -> None:
    world.require("prompt" in world.arguments)
    world.arguments["prompt"] = ["a red cat", "a green door"]


@loads_nothing
def second_prompt(world: World, random: Random) -> None:
    world.takes("prompt_2")
    world.arguments["prompt_2"] = random.choice(["oil on canvas", "pencil"])


@loads_nothing
def negative_prompt(world: World, random: Random) -> None:
    world.takes("negative_prompt")
    world.arguments["negative_prompt"] = random.choice(["blurred", "green", ""])


@loads_nothing
def no_negative_prompt(world: World, random: Random) -> None:
    world.require(world.arguments.pop("negative_prompt", None) is not None)


@loads_nothing
def guidance(world: World, random: Random) -> None:
    world.takes("guidance_scale")
    world.arguments["guidance_scale"] = random.choice([0.0, 1.0, 3.5, 7.5])


@loads_nothing
def true_guidance(world: World, random: Random) -> None:
    world.takes("true_cfg_scale")
    world.takes("negative_prompt")
    world.arguments.update({"true_cfg_scale": random.choice([1.0, 4.0]), "negative_prompt": "blue"})


@loads_nothing
def guidance_rescale(world: World, random: Random) -> None:
    world.takes("guidance_rescale")
    world.arguments["guidance_rescale"] = random.choice([0.0, 0.7])


@loads_nothing
def steps(world: World, random: Random) -> None:
    world.takes("num_inference_steps")
    world.arguments["num_inference_steps"] = random.randint(1, 4)


@loads_nothing
def eta(world: World, random: Random) -> None:
    world.takes("eta")
    world.arguments["eta"] = random.choice([0.0, 1.0])


@loads_nothing
def sigmas(world: World, random: Random) -> None:
    world.takes("sigmas")
    world.arguments["sigmas"] = [1.0, random.choice([0.7, 0.5])]
    world.arguments["num_inference_steps"] = 2


@loads_nothing
def size(world: World, random: Random) -> None:
    world.require("width" in world.arguments)
    side = random.choice(["width", "height"])
    world.arguments[side] = random.choice([32, 64, 96])


@loads_nothing
def odd_size(world: World, random: Random) -> None:
    world.require("width" in world.arguments)
    world.arguments["width"] = random.choice([40, 72])


@loads_nothing
def frames(world: World, random: Random) -> None:
    world.require("num_frames" in world.arguments)
    world.arguments["num_frames"] = random.choice([1, 9, 17])


@loads_nothing
def images_per_prompt(world: World, random: Random) -> None:
    world.takes("num_images_per_prompt")
    world.arguments["num_images_per_prompt"] = random.choice([1, 2])


@loads_nothing
def clip_skip(world: World, random: Random) -> None:
    world.takes("clip_skip")
    world.arguments["clip_skip"] = random.choice([0, 1])


@loads_nothing
def strength(world: World, random: Random) -> None:
    world.takes("strength")
    world.arguments["strength"] = random.choice([0.5, 1.0])


@loads_nothing
def crop(world: World, random: Random) -> None:
    world.takes("crops_coords_top_left")
    world.arguments["crops_coords_top_left"] = [random.choice([0, 16]), 0]


@loads_nothing
def perturbed_attention(world: World, random: Random) -> None:
    world.takes("pag_scale")
    world.arguments["pag_scale"] = random.choice([0.0, 2.0])


@loads_nothing
def adaptive_perturbed_attention(world: World, random: Random) -> None:
    world.takes("pag_adaptive_scale")
    world.arguments["pag_adaptive_scale"] = random.choice([0.0, 0.01])


@loads_nothing
def control_strength(world: World, random: Random) -> None:
    world.takes("controlnet_conditioning_scale")
    world.arguments["controlnet_conditioning_scale"] = random.choice([0.0, 0.5, 1.0])


@loads_nothing
def scale_of_adapters(world: World, random: Random) -> None:
    name = "cross_attention_kwargs" if world.denoiser == "unet" else "joint_attention_kwargs"
    world.takes(name)
    world.arguments[name] = {"scale": random.choice([0.0, 0.5, 1.0])}


@loads_nothing
def sequence_length(world: World, random: Random) -> None:
    world.takes("max_sequence_length")
    world.arguments["max_sequence_length"] = random.choice([16, 32, 64])


@loads_nothing
def other_photo(world: World, random: Random) -> None:
    world.require("image" in world.arguments and not world.is_example)
    photos = ["photo.png", "other.png"]
    world.arguments["image"] = random.choice(photos)


@loads_nothing
def argument_in_a_variable(world: World, random: Random) -> None:
    world.require("prompt" in world.arguments)
    world.document["variables"] = {"words": random.choice(["a lamp", "a tree"])}
    world.arguments["prompt"] = "variable:words"


@loads_nothing
def typed_argument(world: World, random: Random) -> None:
    world.require(world.document.get("variables"))
    world.change(arguments={"words": random.choice(["a boat", "a hill"])})


@loads_nothing
def as_in_the_beginning(world: World, random: Random) -> None:
    """The arguments of the family's first workflow."""
    world.pipeline["arguments"] = world.model.document()["steps"][0]["pipeline"]["arguments"]
    world.document.pop("variables", None)
    world.change(arguments={})


@loads_nothing
def seed_of_the_workflow(world: World, random: Random) -> None:
    world.document["seed"] = random.randint(0, 3)
    world.change(seed=None)


@loads_nothing
def seed_of_the_step(world: World, random: Random) -> None:
    world.step["seed"] = random.randint(0, 3)


@loads_nothing
def seed_of_the_pipeline(world: World, random: Random) -> None:
    world.pipeline["seed"] = random.randint(0, 3)


@loads_nothing
def typed_seed(world: World, random: Random) -> None:
    world.change(seed=random.randint(0, 3))


@loads_nothing
def no_seeds(world: World, random: Random) -> None:
    for place in (world.document, world.step, world.pipeline):
        place.pop("seed", None)


@loads_nothing
def no_generator(world: World, random: Random) -> None:
    world.configuration["no_generator"] = random.random() < 0.5
