"""Component files: which files of a component's folder its weights are loaded from, and whether
they can be."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from diffusers import ModelMixin

from dw.engine.models.weights_file import Meant, check_weights
from dw.errors import RunFailed, did_you_mean
from dw.workflow.paths import WEIGHTS

_OF_DIFFUSERS = ("diffusion_pytorch_model", "diffusion_pytorch_model")
_OF_TRANSFORMERS = ("model", "pytorch_model")
"""How the names of weights begin: those of safetensors, and of pickles."""

_OF_SEVERAL = frozenset(("MultiAdapter", "MultiControlNetModel", "MultiControlNetUnionModel"))
"""Classes of diffusers that are several models, each in a folder."""

_SHARD = r"(?:-\d+-of-\d+)?"
_VARIANT = re.compile(
    rf"(?:diffusion_pytorch_model|pytorch_model|model){_SHARD}(?:\.(?P<variant>[^.]+?))?{_SHARD}"
    r"\.(?:safetensors|bin)"
)
"""`model.fp16.safetensors`, `model.fp16-00001-of-00002.safetensors`, and the shards of former times
`model-00001-of-00002.fp16.safetensors`."""


def variants_in(*folders: Path) -> list[str]:
    """The variants of weights that there are in folders of components, in alphabetical order."""
    return sorted({v for f in folders for v in _variants(_names(f)) if v is not None})


def has_variant(folder: Path, variant: str | None) -> bool:
    """Whether a component has files for `variant`; otherwise diffusers loads the plain ones."""
    return variant is not None and variant in _variants(_names(folder))


def folders_of(source: Path, cls: Any) -> list[Path]:
    """What a component is loaded from: its file or folder, and the folders beside it of a model of
    several: FOLDER_1, FOLDER_2, ..."""
    if _OF_SEVERAL.isdisjoint(base.__name__ for base in getattr(cls, "__mro__", ())):
        return [source]
    beside = (source.with_name(f"{source.name}_{number}") for number in count(1))
    return [source, *takewhile(Path.is_dir, beside)]


def weight_files(
    source: Path, variant: str | None = None, *, cls: Any = None, pickles: bool = False
) -> list[Path]:
    """The files that a component's weights are loaded from; a shard may be missing. `source`: a
    file or a folder. `cls`: the class of the component. `pickles`: they are preferred.

    Where a folder holds both, diffusers loads the shards and transformers the one file.
    """
    folders = folders_of(source, cls)
    return [f for each in folders for f in _weight_files(each, variant, cls, pickles=pickles)]


def _weight_files(source: Path, variant: str | None, cls: Any, *, pickles: bool) -> list[Path]:
    if source.is_file():
        return [source]
    names = _names(source)
    endings = ("safetensors", "bin")
    for number, ending in sorted(enumerate(endings), reverse=pickles):
        for bases in _bases(cls):
            name = f"{bases[number]}.{ending}"
            one, index = _of_variant(name, variant), f"{name}.index"
            indexes = [_of_variant(f"{index}.json", variant), f"{name}.{variant}.index.json"]
            order = [*indexes, one] if bases is _OF_DIFFUSERS else [one, *indexes]
            if (found := next((n for n in order if n in names), None)) is not None:
                return [source / found] if found == one else _shards(source / found)
    # A class with a loader of its own, such as a task's. No loader takes one of several variants.
    others = sorted(n for n in names if n.endswith(WEIGHTS) and not _VARIANT.fullmatch(n))
    return [source / n for n in others if n.endswith(".safetensors")] or [
        source / n for n in others
    ]


def check_component(
    source: Path,
    variant: str | None = None,
    *,
    cls: Any = None,
    trust: bool,
    pickles: bool = False,
    warn: Callable[[str], None],
) -> bool:
    """Whether a component's weights are pickles. Raises RunFailed when it has none of this variant,
    when they are not whole, not what their names say, or pickles without trust. `warn`: of weights
    that are there twice."""
    files = weight_files(source, variant, cls=cls, pickles=pickles)
    if not files:
        check_variant(variant, str(source), [source])
        _check_is_component(source)
    for file in files:
        if not (file.exists() or file.is_symlink()):
            raise _incomplete(file)
    if note := _left_over(source, files):
        warn(note)
    meant: Meant | None = "model" if source.is_file() else None
    found = [check_weights(file, meant, trust=trust) for file in files]
    return any(file.format == "pickle" for file in found)


def check_variant(variant: str | None, model: str, folders: Sequence[Path]) -> None:
    """Raises RunFailed when none of the folders of a model's components has weights of this
    variant, or when they have variants only. A variant that one of them has is enough."""
    known = variants_in(*folders)
    if variant is None:
        if known and not any(weight_files(folder) for folder in folders):
            raise RunFailed(
                f"{model!r} has weights of the variant {' and '.join(map(repr, known))} only",
                hints=[f'"variant": "{known[0]}"   in from_pretrained_arguments loads them'],
            )
    elif variant not in known:
        near = did_you_mean(variant, known)
        there = f"; it has {', '.join(map(repr, known))}" if known else "; its files have none"
        raise RunFailed(
            f"{model!r} has no variant {variant!r}{near or there}",
            hints=[] if near else ["without 'variant' the plain weights are loaded"],
        )


def _check_is_component(folder: Path) -> None:
    """Raises RunFailed for the folder of a whole pipeline."""
    if (folder / "model_index.json").is_file():
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise RunFailed(
            f"{str(folder)!r} is a whole pipeline, not one component",
            hints=[f"'subfolder' names the folder of a component: {', '.join(folders)}"],
        )


def _incomplete(shard: Path) -> RunFailed:
    """The error for a shard that is not there."""
    folder = shard.parent
    others = [n for n in sorted(_names(folder)) if n.endswith(".safetensors") and "-of-" not in n]
    hints = ["download it again"]
    if others:
        hints = [f"without the index of the shards, {others[0]!r} beside it is loaded"]
    return RunFailed(f"{str(folder)!r} is not whole: {shard.name!r} is missing", hints=hints)


def _left_over(source: Path, taken: Sequence[Path]) -> str | None:
    """What a folder with one file and shards leaves open: a library takes what it prefers, without
    a word, though the other may be newer. Saving over a model leaves such folders behind."""
    if source.is_file() or not taken:
        return None
    wholes = {re.sub(_SHARD, "", file.name) for file in taken}
    read = {file.name for file in taken}
    left = sorted(n for n in _names(source) - read if re.sub(_SHARD, "", n) in wholes)
    if not left:
        return None
    names = [
        f"{each[0]} and {len(each) - 1} more" if each[1:] else each[0]
        for each in (sorted(read), left)
    ]
    return (
        f"{str(source)!r} holds weights twice: read is {names[0]}, not {names[1]}; "
        "remove what is out of date"
    )


def _bases(cls: Any) -> tuple[tuple[str, str], ...]:
    """How the names of the weights that a class loads begin."""
    if isinstance(cls, type) and issubclass(cls, ModelMixin):
        return (_OF_DIFFUSERS,)
    above = {base.__name__ for base in getattr(cls, "__mro__", ())}
    is_of_transformers = above & {"PreTrainedModel", "_BaseAutoModelClass"}
    return (_OF_TRANSFORMERS,) if is_of_transformers else (_OF_DIFFUSERS, _OF_TRANSFORMERS)


def _of_variant(name: str, variant: str | None) -> str:
    stem, _, ending = name.rpartition(".")
    return name if variant is None else f"{stem}.{variant}.{ending}"


def _shards(index: Path) -> list[Path]:
    try:
        names = json.loads(index.read_bytes())["weight_map"].values()
        return [index.parent / Path(name).name for name in sorted(set(names))]
    except (AttributeError, LookupError, OSError, TypeError, ValueError):
        raise RunFailed(
            f"{str(index)!r} is no index of shards", hints=["download it again"]
        ) from None


def _variants(names: Iterable[str]) -> Iterator[str | None]:
    matches = map(_VARIANT.fullmatch, names)
    return (match["variant"] for match in matches if match)


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
