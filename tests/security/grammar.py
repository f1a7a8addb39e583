"""Hostile workflows: valid ones in which some places hold a class, path, address, option or
reference that should lead nowhere. The places are those of the templates and of the workflow's JSON
Schema; the values are the names of all that the known packages export, and what a stranger would
try.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any

from dw.engine.python.keywords import keywords
from dw.workflow.checks.options import _CODE, _FILES, _JUDGES, _PARTS
from dw.workflow.json_path import JsonPath, walk

Json = dict[str, Any]

MODULES = (
    *("this", "antigravity", "evil", "evil.inner", "pipeline", "modeling_evil", "idlelib.idle"),
    *("diffusers.commands.diffusers_cli", "diffusers.commands.env", "diffusers.training_utils"),
    *("transformers.testing_utils", "transformers.trainer", "transformers.cli.serve"),
    *("torch.utils.bottleneck", "torch.distributed.run", "torch.utils.model_dump", "turtle"),
    *("torch.utils.cpp_extension", "torchao.testing.utils", "accelerate.commands.launch"),
)
"""Modules that no workflow needs; the watch tells when one is imported."""

_NAMES = (
    *("subprocess.Popen", "subprocess.check_output", "os.system", "builtins.exec", "evil.Evil"),
    *("builtins.open", "pathlib.Path", "torch.os.system", "torch.load", "torch.hub.load"),
    *("torch.hub.os.environ", "torch._C.Generator", "torch.ops.load_library", "a..b", ".x", "{x"),
    *("diffusers.utils.import_utils.sys.exit", "diffusers.utils.Path", "diffusers.pipelines"),
    *("diffusers.OnnxRuntimeModel", "diffusers.pipelines.onnx_utils.OnnxRuntimeModel"),
    *("transformers.dynamic_module_utils.importlib", "transformers.utils.hub.os.environ"),
    *("transformers.TextStreamer", "transformers.TrainingArguments", "transformers.RagRetriever"),
    *("accelerate.utils.write_basic_config", "peft.PeftModel", "sdnq.loader.load_sdnq_model"),
    *("diffusers.modular_pipelines.modular_pipeline_utils.ComponentSpec", "torch.float16"),
    *("torch.cuda.Stream", "torch.nn.Linear", "torch.ScriptModule", "torch.Generator"),
)
_TEXTS = (
    *("$(touch marked)", "; touch marked", "`touch marked`", "| touch marked", "%s%n", "{0.x}"),
    *("-rf", "--trust", "a\x00b", "x" * 5000, "\u202e", "{{ 7 * 7 }}", "${env.PATH}", ""),
    *("org/name", "org/name:function", "org/name@main", "paged|org/name", "disk", "sonicmoe"),
)
_URLS = (
    *("http://127.0.0.1:9/x.png", "http://localhost:9/x.png", "http://[::1]:9/x.png"),
    *("http://2130706433:9/x", "http://0x7f.1:9/x", "http://[64:ff9b::7f00:1]:9/x.png"),
    *("http://[2002:7f00:1::]:9/x.png", "http://[::ffff:10.0.0.1]:9/x", "http://0:9/x.png"),
    *("http://169.254.169.254/latest/meta-data", "https://u:p@127.0.0.1:9/x.png"),
    *("file:///etc/hostname", "ftp://127.0.0.1/x.png", "data:image/png;base64,AAAA"),
    *("https://huggingface.co/a/b/resolve/..%2F..%2Fx/y.safetensors", "http://", "http://[/x"),
    *("https://huggingface.co.evil.example/a/b/resolve/main/x.safetensors",),
)
_REFERENCES = (
    *("constant:os.environ", "constant:torch.os.environ", "constant:evil.VALUE", "constant:x"),
    *("constant:diffusers.utils.logging.sys.modules", "constant:torch._C", "constant:torch.load"),
    *("constant:transformers.utils.hub.os", "constant:diffusers.hooks.hooks.logger"),
    *("constant:torch.float16", "constant:diffusers.hooks.mag_cache.FLUX_MAG_RATIOS"),
    *("variable:x", "variable:nobody", "previous_result:first", "previous_result:nobody.x"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**63, 10**30, 0.5, -1e308, [], {}, [[]]),
    *({"media_type": "image", "location": "link.png"}, {"": None}, [None] * 50),
    *({"trust_remote_code": True}, {"custom_generate": "org/name"}, {"config": "../secret"}),
)


EVIL_MODELS = (
    *("adapter", "kernels", "links", "mapped", "other_class", "own_code", "own_component"),
    "shards",
)
"""Folders of models with something in them that a loader might follow."""

_LEADS = (
    *("command", "from_file", "glob", "image", "location", "model_name", "path", "url", "urls"),
    *("video", "x_type"),
)
_WEIGHT = 4

_MADE = re.compile(
    r"(Scheduler|Config|Guidance|Processor|Condition|Reference|Callback|Generator|Model)$"
)
"""The names of classes of which objects are made, most of them."""


@dataclass(frozen=True)
class World:
    """The folder of a fuzzer: `flows` with the workflow and its files, and `secret` beside it."""

    root: Path

    @property
    def flows(self) -> Path:
        return self.root / "flows"

    @property
    def secret(self) -> Path:
        return self.root / "secret"

    @cached_property
    def paths(self) -> tuple[str, ...]:
        secret = str(self.secret)
        own = sorted(str(each.relative_to(self.flows)) for each in self.flows.rglob("*"))
        return (
            *(f"{secret}/{name}" for name in ("", "cat.png", "film.mp4", "model", "weights.bin")),
            *(f"{secret}/workflow.json", f"{secret}/model/unet", f"{secret}/text.txt"),
            *("../secret/cat.png", "../secret/model", "../secret/text.txt", "~/x.png", "~root/x"),
            *("/etc/hostname", "/etc/passwd", "/dev/zero", "/dev/stdin", "/dev/fd/0", "/dev/tty"),
            *("/proc/self/environ", "/proc/self/cmdline", "/proc/self/mem", "/proc/1/environ"),
            *("\\\\host\\share\\x.png", "C:\\x.png", "CON", ".", "..", "/", "*", "**/*", "../*"),
            *(
                f"{secret}/*.png",
                "../secret/*.png",
                "linked/*.png",
                "*/*.png",
                "/*/*.png",
                "~root/*",
            ),
            *(f"./{name}" for name in own),
            *own,
            *("builtin:shapes", "builtin:../../x", "builtin:nobody", "any/model", "a/b/../../x"),
        )


class Grammar:
    """Makes workflows. The same seed and number make the same one."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._classes = tuple(sorted(set(_class_names())))
        self._made = tuple(filter(_MADE.search, self._classes))
        self._keys = tuple(sorted(set(_schema_keys()) | set(_option_names())))

    def workflow(self, number: int) -> Json:
        random = Random(f"{self._seed}:{number}")
        data: Json = copy.deepcopy(random.choice(TEMPLATES)())
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            self._change(data, random)
        return data

    def _change(self, data: Json, random: Random) -> None:
        """Give a place another value, or an object another member."""
        places = [path for path, _ in walk(data) if path and path != ("steps",)]
        path = random.choices(places, [_WEIGHT if _leads(path) else 1 for path in places])[0]
        holder = _at(data, path[:-1])
        own = holder[path[-1]]
        if isinstance(own, dict) and random.random() < 0.7:
            holder, path = own, (*path, random.choice(self._keys))
        holder[path[-1]] = self._value(path, own, random)

    def _value(self, path: JsonPath, own: Any, random: Random) -> Any:
        if "pre_load_modules" in path:
            return random.choice(random.choices((MODULES, _NAMES), (3, 1))[0])
        pools: list[Callable[[], Any]] = [
            lambda: random.choice(self._world.paths),
            lambda: random.choice(_URLS),
            lambda: random.choice(_TEXTS),
            lambda: random.choice(_REFERENCES),
            lambda: random.choice(_VALUES),
            lambda: random.choice(self._classes),
            lambda: self._object(random),
            lambda: {random.choice(self._keys): self._plain(random)},
            lambda: [own, self._plain(random)],
        ]
        weights = [4, 2, 3, 2, 3, 2, 2, 2, 1]
        if str(path[-1]).endswith("_type"):
            weights[5] = 40
        return copy.deepcopy(random.choices(pools, weights)[0]())

    def _plain(self, random: Random) -> Any:
        return random.choice((*self._world.paths, *_URLS, *_TEXTS, *_VALUES))

    def _object(self, random: Random) -> Json:
        """An object to make, of a class of the known packages, with arguments that it takes."""
        name = random.choice(random.choices((self._made, self._classes, _NAMES), (3, 1, 1))[0])
        way = random.choice(
            ("from_arguments", "from_arguments", "from_file", "from_previous_result")
        )
        if way != "from_arguments":
            return {"x_type": name, way: self._plain(random), "fps": 1}
        names = _parameters(name) or self._keys
        some = {*names[: random.randrange(3)], random.choice(names)}
        return {"x_type": name, way: {each: self._plain(random) for each in sorted(some)}}


def _leads(path: JsonPath) -> bool:
    """Whether a place holds a name, a path or an address by its key."""
    keys = [part for part in path if isinstance(part, str)][-1:]
    return bool(keys) and keys[0].endswith((*_LEADS, "_type", "pre_load_modules", "arguments"))


def _at(data: Any, path: JsonPath) -> Any:
    for part in path:
        data = data[part]
    return data


# ------------------------------------------------------------------ names, derived


def _class_names() -> Iterator[str]:
    """Whatever the known packages export, and what a stranger would name."""
    import accelerate
    import diffusers
    import torch
    import torchao.quantization
    import transformers

    yield from _NAMES
    yield from (f"{name}.X" for name in MODULES)
    packages = (diffusers, transformers, torch, torchao.quantization, accelerate)
    for package in packages:
        yield from (f"{package.__name__}.{name}" for name in dir(package))
    yield from (name for name in dir(diffusers) if name[:1].isupper())
    for kind in ("attention_processor", "modeling_utils", "transformers.transformer_flux"):
        module = __import__(f"diffusers.models.{kind}", fromlist=["x"])
        yield from (f"diffusers.models.{kind}.{name}" for name in dir(module))
    for name in ("minimax_h3", "modular_pipeline", "modular_pipeline_utils", "mellon_node_utils"):
        module = __import__(f"diffusers.modular_pipelines.{name}", fromlist=["x"])
        yield from (f"diffusers.modular_pipelines.{name}.{each}" for each in dir(module))


def _schema_keys() -> Iterator[str]:
    schema = json.loads((files("dw.workflow") / "schema.json").read_text("utf-8"))
    for path, value in walk(schema):
        if path[-1:] == ("properties",) and isinstance(value, dict):
            yield from value


def _option_names() -> Iterator[str]:
    """What the loaders and `generate` of the libraries take, by their signatures and sources."""
    from diffusers import DiffusionPipeline, ModelMixin
    from diffusers.loaders.single_file import FromSingleFileMixin
    from transformers import GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase, pipeline
    from transformers.image_processing_base import ImageProcessingMixin
    from transformers.processing_utils import ProcessorMixin

    yield from (*_CODE, *_FILES, *_JUDGES, *_PARTS, "trust_remote_code", "custom_pipeline")
    for function in (
        *(DiffusionPipeline.from_pretrained, DiffusionPipeline.download),
        *(ModelMixin.from_pretrained, FromSingleFileMixin.from_single_file, pipeline),
        *(PreTrainedModel.from_pretrained, PreTrainedTokenizerBase.from_pretrained),
        *(ImageProcessingMixin.get_image_processor_dict, ProcessorMixin.get_processor_dict),
        GenerationMixin.generate,
    ):
        yield from signature(function).parameters
        yield from keywords(function)[0]


def _parameters(name: str) -> tuple[str, ...]:
    """What the constructor of a class that may be made takes."""
    from dw.engine.python import resolve
    from dw.errors import DwError

    try:
        found = resolve.object_class(name)
        return tuple(signature(found).parameters)
    except (DwError, ImportError, TypeError, ValueError):
        return ()


# ------------------------------------------------------------------ templates


def _pipeline(model: str = "builtin:shapes", **changes: Any) -> Json:
    call = {"prompt": "a circle", "num_inference_steps": 1, "height": 16, "width": 16}
    pipeline = {
        "configuration": {"component_type": "StableDiffusionPipeline"},
        "from_pretrained_arguments": {"model_name": model},
        "arguments": call,
    }
    for name, value in changes.items():
        pipeline[name] = {**pipeline.get(name, {}), **value} if isinstance(value, dict) else value
    result = {"content_type": "image/png", "embed_metadata": True}
    return {"name": "gen", "pipeline": pipeline, "result": result}


def _workflow(*steps: Json, **top: Any) -> Json:
    return {"id": "w", "variables": {"x": None}, "steps": list(steps), **top}


def _echo(value: Any, name: str = "first") -> Json:
    return {"name": name, "task": {"command": "gather_inputs", "inputs": [value]}}


def _task(command: str, **arguments: Any) -> Json:
    return {"name": "task", "task": {"command": command, "arguments": arguments}}


def _component(cls: str, **loads: Any) -> Json:
    return {"configuration": {"component_type": cls}, "from_pretrained_arguments": loads}


def _of_evil_model(name: str) -> Json:
    """A workflow that consents to the code of such a model."""
    return _workflow(_pipeline(f"./{name}", from_pretrained_arguments={"trust_remote_code": True}))


_QUANTIZED = {
    "configuration": {"config_type": "TorchAoConfig"},
    "arguments": {"quant_type": "torchao.quantization.Int8WeightOnlyConfig"},
}
_REFERENCE = "diffusers.modular_pipelines.minimax_h3.MiniMaxH3ImageReference"
_CONFIG = {"x_type": "transformers.CLIPTextConfig", "from_arguments": {"hidden_size": 8}}
_GUIDER = {"x_type": "ClassifierFreeGuidance", "from_arguments": {"guidance_scale": 2.0}}

TEMPLATES: tuple[Callable[[], Json], ...] = (
    *(partial(_of_evil_model, name) for name in EVIL_MODELS),
    lambda: _workflow(_pipeline()),
    lambda: _workflow(_pipeline("./model")),
    lambda: _workflow(
        _pipeline(
            configuration={
                "component_type": "StableDiffusionPipeline",
                "pre_load_modules": ["sdnq", "torchao", "peft"],
            }
        )
    ),
    lambda: _workflow(_pipeline(loras=[{"model_name": "./lora.safetensors", "scale": 0.5}])),
    lambda: _workflow(_pipeline(vae=_component("AutoencoderKL", model_name="./model/vae"))),
    lambda: _workflow(_pipeline(ip_adapter={"model_name": "./lora.safetensors"})),
    lambda: _workflow(_pipeline(scheduler={"configuration": {"scheduler_type": "DDIMScheduler"}})),
    lambda: _workflow(_pipeline(quantization_config=copy.deepcopy(_QUANTIZED))),
    lambda: _workflow(_pipeline(remote_text_encoder={"url": "http://127.0.0.1:9/"})),
    lambda: _workflow(
        _pipeline(
            configuration={
                "component_type": "StableDiffusionPipeline",
                "unet": {
                    "attn_processor_type": "diffusers.models.attention_processor.AttnProcessor"
                },
                "vae": {"enable_tiling": True},
                "pre_load_modules": ["sdnq"],
                "components": {"unet": {"compile": {"mode": "default", "options": {}}}},
                "attention_backend": "native",
            }
        )
    ),
    lambda: _workflow(
        _pipeline(
            "any/model",
            configuration={"component_type": "transformers.AutoModelForCausalLM", "generate": True},
            arguments={"max_new_tokens": 2},
        )
    ),
    lambda: _workflow(
        _pipeline(
            "any/model",
            configuration={"component_type": "transformers.pipeline"},
            from_pretrained_arguments={"task": "text-generation"},
            arguments={"text_inputs": "a cat"},
        )
    ),
    lambda: _workflow(
        _pipeline("./model", configuration={"component_type": "transformers.CLIPTextModel"})
    ),
    lambda: _workflow(_echo({"image": "cat.png"}), _task("crop_square", image="cat.png")),
    lambda: _workflow(_echo({"reference_type": _REFERENCE, "from_file": "cat.png"})),
    lambda: _workflow(_echo([copy.deepcopy(_CONFIG), copy.deepcopy(_GUIDER)])),
    lambda: _workflow(_echo({"video": "film.mp4"}), _task("get_frame", video="film.mp4")),
    lambda: _workflow(_task("gather_images", glob="*.png")),
    lambda: _workflow(_task("gather_images", urls=["http://127.0.0.1:9/x.png"])),
    lambda: _workflow(_task("upscale", image="cat.png", model_name="./lora.safetensors")),
    lambda: _workflow(_task("text_generation", prompt="a", generate_kwargs={"top_k": 1})),
    lambda: _workflow({"name": "sub", "workflow": {"path": "child.json", "arguments": {"x": 1}}}),
    lambda: _workflow(
        _pipeline(
            "any/model",
            configuration={"component_type": "StableDiffusionXLModularPipeline"},
        )
    ),
)
