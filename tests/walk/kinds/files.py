"""Edits of the files that a workflow names: their bytes, and how they lie on the disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from tests.walk.models import draw, write_weights
from tests.walk.world import World, loads_anything, loads_nothing


def _folder(world: World) -> Path:
    """The folder of the model that is loaded."""
    world.require("model_name" in world.loads and not world.is_example)
    folder = world.root / world.loads["model_name"]
    world.require(folder.is_dir())
    return folder


def _weights(world: World, random: Random) -> Path:
    found = sorted(p for p in _folder(world).glob("*/*.safetensors") if ".ema." not in p.name)
    world.require(found)
    return world.save(random.choice(found))


@loads_anything
def weights_rewritten(world: World, random: Random) -> None:
    path = _weights(world, random)
    write_weights(path, path, seed=random.randrange(1000))


@loads_anything
def weights_rewritten_in_place(world: World, random: Random) -> None:
    path = _weights(world, random)
    write_weights(path, path, seed=random.randrange(1000), in_place=True)


@loads_anything
def weights_of_the_same_size_and_time(world: World, random: Random) -> None:
    path = _weights(world, random)
    before = path.stat()
    write_weights(path, path, seed=random.randrange(1000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@loads_anything
def weights_in_place_of_the_same_time(world: World, random: Random) -> None:
    path = _weights(world, random)
    before = path.stat()
    write_weights(path, path, seed=random.randrange(1000), in_place=True)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@loads_anything
def weights_touched(world: World, random: Random) -> None:
    _weights(world, random).touch()


@loads_anything
def weights_renamed_over(world: World, random: Random) -> None:
    """The file of another folder is moved over this one, with its own times."""
    path = _weights(world, random)
    other = world.model.folder("d") / path.parent.name / path.name
    world.require(other.is_file())
    copy = path.with_suffix(".moved")
    shutil.copy2(other, copy)
    copy.replace(path)


@loads_anything
def weights_hard_linked(world: World, random: Random) -> None:
    path = _weights(world, random)
    other = world.model.folder("d") / path.parent.name / path.name
    world.require(other.is_file())
    path.unlink()
    os.link(other, path)
    # Later edits in place would change both: as somebody's hard links do.


@loads_anything
def weights_symlinked(world: World, random: Random) -> None:
    path = _weights(world, random)
    other = world.model.folder("e") / path.parent.name / path.name
    world.require(other.is_file() and not path.is_symlink() and not other.is_symlink())
    path.unlink()
    path.symlink_to(other)


def _link(world: World, which: str) -> Path:
    link = world.root / "models" / f"{world.family}-link"
    world.save(link).unlink(missing_ok=True)
    link.symlink_to(world.model.folder(which), target_is_directory=True)
    return link


@loads_anything
def model_by_a_link(world: World, random: Random) -> None:
    world.require("model_name" in world.loads and not world.is_example)
    world.loads["model_name"] = f"models/{_link(world, random.choice('ab')).name}"


@loads_anything
def link_switched(world: World, random: Random) -> None:
    world.require(world.loads.get("model_name") == f"models/{world.family}-link")
    _link(world, random.choice("abc"))


@loads_nothing
def folder_renamed(world: World, random: Random) -> None:
    """The same bytes under another name."""
    folder = _folder(world)
    world.require(not folder.is_symlink())
    others = [step for step in world.steps if step is not world.step]
    world.require(world.loads["model_name"] not in json.dumps(others))
    target = folder.with_name(f"{world.family}-moved")
    world.require(not target.exists())
    world.save(target)
    world.save(folder).rename(target)
    world.loads["model_name"] = f"models/{target.name}"


@loads_anything
def folder_replaced(world: World, random: Random) -> None:
    """Another model's folder takes the name of this one."""
    folder = _folder(world)
    other = world.model.folder(random.choice("bc"))
    world.require(not folder.is_symlink() and other != folder)
    world.save(folder)
    shutil.rmtree(folder)
    shutil.copytree(other, folder, symlinks=False)


def _edited(world: World, path: Path, entry: str, values: list[Any], random: Random) -> bool:
    if not path.is_file():
        return False
    data = json.loads(path.read_text())
    if entry not in data:
        return False
    world.save(path)
    data[entry] = random.choice(values)
    path.write_text(json.dumps(data, indent=2))
    return True


@loads_anything
def config_of_the_vae(world: World, random: Random) -> None:
    path = _folder(world) / "vae" / "config.json"
    world.require(_edited(world, path, "scaling_factor", [0.1, 0.18215, 0.3611], random))


@loads_anything
def config_of_the_text_encoder(world: World, random: Random) -> None:
    path = _folder(world) / "text_encoder" / "config.json"
    world.require(_edited(world, path, "layer_norm_eps", [1e-5, 1e-2], random))


@loads_anything
def config_of_the_denoiser(world: World, random: Random) -> None:
    path = _folder(world) / world.denoiser / "config.json"
    world.require(_edited(world, path, "norm_eps", [1e-5, 1e-2], random))


@loads_anything
def config_of_the_scheduler(world: World, random: Random) -> None:
    path = _folder(world) / "scheduler" / "scheduler_config.json"
    changed = _edited(world, path, "beta_end", [0.012, 0.02], random)
    world.require(changed or _edited(world, path, "shift", [1.0, 2.0, 5.0], random))


@loads_anything
def config_of_the_tokenizer(world: World, random: Random) -> None:
    path = _folder(world) / "tokenizer" / "tokenizer_config.json"
    world.require(_edited(world, path, "model_max_length", [77, 20], random))


@loads_anything
def vocabulary(world: World, random: Random) -> None:
    """Two words of a tokenizer change places."""
    path = _folder(world) / "tokenizer" / "vocab.json"
    world.require(path.is_file())
    world.save(path)
    words = json.loads(path.read_text(encoding="utf-8"))
    first, second = random.sample(sorted(words), 2)
    words[first], words[second] = words[second], words[first]
    path.write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")


@loads_nothing
def config_rewritten_as_it_was(world: World, random: Random) -> None:
    path = _folder(world) / world.denoiser / "config.json"
    world.require(path.is_file())
    path.write_bytes(path.read_bytes())


def _shards(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    names = sorted(tensors)
    halves = (names[: len(names) // 2], names[len(names) // 2 :])
    stem = path.name.removesuffix(".safetensors")
    placed: dict[str, str] = {}
    for number, half in enumerate(halves, start=1):
        shard = f"{stem}-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, path.with_name(shard), {"format": "pt"})
        placed |= dict.fromkeys(half, shard)
    index = {"metadata": {}, "weight_map": placed}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
    path.unlink()


@loads_anything
def weights_in_shards(world: World, random: Random) -> None:
    folder = _folder(world) / world.denoiser
    path = folder / "diffusion_pytorch_model.safetensors"
    world.require(path.is_file())
    world.save(folder)
    _shards(path)


@loads_nothing
def photo_changed(world: World, random: Random) -> None:
    world.require(not world.is_example)
    draw(world.save(world.root / "photo.png"), random.randrange(100))


@loads_nothing
def photo_of_the_same_size_and_time(world: World, random: Random) -> None:
    world.require(not world.is_example)
    path = world.save(world.root / "photo.png")
    before = path.stat()
    draw(path, random.randrange(100))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@loads_nothing
def mask_changed(world: World, random: Random) -> None:
    world.require("mask_image" in world.arguments)
    draw(world.save(world.root / "mask.png"), random.randrange(100))
