"""Edits of the steps of a workflow, and of workflows that others call."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from tests.walk.models import model_of
from tests.walk.world import Json, World, loads_anything, loads_nothing

PNG = {"content_type": "image/png"}


def _named(world: World, name: str) -> Json | None:
    return next((step for step in world.steps if step["name"] == name), None)


def _add_or_remove(world: World, step: Json) -> None:
    found = _named(world, step["name"])
    if found is None:
        world.steps.append(step)
    else:
        world.steps.remove(found)


def _images(world: World) -> None:
    """Raises NotApplicable unless the step makes images and saves them."""
    world.require(_saved(world).get("content_type", "").startswith("image/"))


def _saved(world: World) -> Json:
    """How the results of the step are saved; empty where they are not."""
    found: Json = world.step.get("result", {})
    return found


def _task(name: str, command: str, **arguments: Any) -> Json:
    return {"name": name, "task": {"command": command, "arguments": arguments}, "result": PNG}


@loads_nothing
def resized(world: World, random: Random) -> None:
    _images(world)
    side = random.choice([32, 48])
    image = f"previous_result:{world.step['name']}"
    step = _task("small", "resize_center_crop", image=image, width=side, height=side)
    _add_or_remove(world, step)


@loads_nothing
def outlined(world: World, random: Random) -> None:
    _images(world)
    _add_or_remove(world, _task("edges", "canny_cv", image=f"previous_result:{world.step['name']}"))


@loads_nothing
def task_before(world: World, random: Random) -> None:
    world.require(not world.is_example)
    found = _named(world, "before")
    if found is not None:
        world.steps.remove(found)
    else:
        world.steps.insert(0, _task("before", "canny_cv", image="../media/lighthouse.png"))


@loads_anything
def depth_map(world: World, random: Random) -> None:
    world.require(world.is_example)
    _add_or_remove(world, _task("depth", "depth_estimator", image="../media/lighthouse.png"))


@loads_nothing
def renamed_step(world: World, random: Random) -> None:
    world.require(len(world.steps) == 1)
    world.step["name"] = "renamed" if world.step["name"] == "gen" else "gen"


@loads_nothing
def called_again(world: World, random: Random) -> None:
    """Another step calls the same pipeline with other arguments."""
    arguments = {**world.arguments, "num_inference_steps": 1}
    again = {
        "name": "again",
        "pipeline_reference": {"reference_name": world.step["name"], "arguments": arguments},
        "result": dict(_saved(world)) or PNG,
    }
    _add_or_remove(world, again)


@loads_anything
def steps_in_another_order(world: World, random: Random) -> None:
    independent = [s for s in world.steps if s["name"] in ("before", "depth", "twin", "other")]
    world.require(independent)
    step = random.choice(independent)
    world.steps.remove(step)
    world.steps.insert(0, step)


@loads_nothing
def twin(world: World, random: Random) -> None:
    """A step of its own with the same models, and without what sits on them."""
    found = _named(world, "twin")
    if found is not None:
        world.steps.remove(found)
        return
    step = copy.deepcopy(world.step)
    step["name"] = "twin"
    step["pipeline"].pop("loras", None)
    if random.random() < 0.5:
        step["pipeline"]["seed"] = 3
    world.steps.append(step)


@loads_anything
def step_of_another_family(world: World, random: Random) -> None:
    world.require(not world.is_example)
    name = random.choice(["stable-diffusion-1.5", "stable-diffusion-xl", "flux.1-dev"])
    step = model_of(name, world.root).document()["steps"][0]
    _add_or_remove(world, {**step, "name": "other"})


@loads_nothing
def shared_components(world: World, random: Random) -> None:
    world.require(_named(world, "sharer") is None)
    world.require(world.step is world.steps[0] and world.denoiser in world.model.weighted)
    world.pipeline["shared_components"] = [world.denoiser]
    sharer = copy.deepcopy(world.step)
    sharer["name"] = "sharer"
    del sharer["pipeline"]["shared_components"]
    sharer["pipeline"]["reused_components"] = [world.denoiser]
    world.steps.append(sharer)


@loads_anything
def nothing_shared(world: World, random: Random) -> None:
    sharer = _named(world, "sharer")
    world.require(sharer)
    assert sharer is not None
    world.steps.remove(sharer)
    world.pipeline.pop("shared_components", None)


@loads_anything
def released_pipeline(world: World, random: Random) -> None:
    step = random.choice(world.steps)
    step["release_pipeline"] = not step.get("release_pipeline", False)


@loads_anything
def released_models(world: World, random: Random) -> None:
    step = random.choice(world.steps)
    step["release_models"] = not step.get("release_models", False)


@loads_nothing
def fewer_steps(world: World, random: Random) -> None:
    world.require(len(world.steps) > 1)
    world.steps[:] = [world.step]
    world.pipeline.pop("shared_components", None)


@loads_nothing
def result_kind(world: World, random: Random) -> None:
    _images(world)
    kinds = ["image/png", "image/jpeg", "image/webp", "image/gif"]
    world.step["result"] = {"content_type": random.choice(kinds)}


@loads_nothing
def embedded_metadata(world: World, random: Random) -> None:
    result = _saved(world)
    world.require(result.get("content_type", "video/mp4") != "video/mp4")
    result["embed_metadata"] = not result.get("embed_metadata", False)


# -------------------------------------------------------------------- workflows in workflows


@loads_anything
def sub_workflow(world: World, random: Random) -> None:
    """A step that runs another file, which draws with one of the usual families."""
    world.require(not world.is_example)
    name = random.choice(["stable-diffusion-1.5", "flux.1-dev"])
    inner = model_of(name, world.root).document()
    inner["id"] = "inner"
    inner["variables"] = {"words": "a dog"}
    inner["steps"][0]["pipeline"]["arguments"]["prompt"] = "variable:words"
    world.sub.clear()
    world.sub.update(inner)
    if _named(world, "sub") is None:
        call = {"path": "inner.json", "arguments": {}}
        world.steps.append({"name": "sub", "workflow": call, "result": PNG})


@loads_nothing
def argument_of_the_sub_workflow(world: World, random: Random) -> None:
    step = _named(world, "sub")
    world.require(step)
    assert step is not None
    step["workflow"]["arguments"] = {"words": random.choice(["a horse", "a dog"])}


@loads_anything
def edited_sub_workflow(world: World, random: Random) -> None:
    world.require(world.sub and _named(world, "sub"))
    pipeline = world.sub["steps"][0]["pipeline"]
    edits: list[Any] = [
        lambda: pipeline["arguments"].update(num_inference_steps=random.randint(1, 3)),
        lambda: pipeline.update(seed=random.randint(0, 3)),
        lambda: pipeline["configuration"].update(vae={"enable_tiling": True}),
        lambda: pipeline["from_pretrained_arguments"].update(torch_dtype="torch.bfloat16"),
    ]
    random.choice(edits)()


@loads_nothing
def no_sub_workflow(world: World, random: Random) -> None:
    step = _named(world, "sub")
    world.require(step)
    assert step is not None
    world.steps.remove(step)


@loads_nothing
def chained(world: World, random: Random) -> None:
    world.require("num_frames" in world.arguments and "image" in world.arguments)
    if world.pipeline.pop("chain", None) is None:
        world.pipeline["chain"] = {"segments": 2, "prompts": ["a cat", "a dog"]}
