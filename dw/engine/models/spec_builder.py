"""The spec builder: makes the load spec of one pipeline from its workflow and its index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from diffusers import ModelMixin

from dw.engine.errors import at
from dw.engine.models.component_files import (
    check_component,
    check_variant,
    folders_of,
    has_variant,
    weight_files,
)
from dw.engine.models.context import LoadContext, stand_in_folder
from dw.engine.models.dtypes import Dtypes
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.ip_adapter import encoder_of
from dw.engine.models.quantization import (
    component_quantization,
    quantization_of,
    takes_quantization,
)
from dw.engine.models.source import HUB_OPTIONS
from dw.engine.models.spec import (
    ComponentSpec,
    PartSpec,
    PipelineSpec,
    PlacementPlan,
    QuantizationSpec,
    SchedulerSpec,
    SingleFile,
    loader_options,
)
from dw.engine.models.transformers_models import transformers_spec
from dw.engine.models.weights_file import check_weights
from dw.engine.patches.weight_keys import KEYS, allowed_by
from dw.engine.python import remote_code, resolve
from dw.engine.python.signatures import constructor_signature, has_weights, library_class
from dw.errors import RunFailed, WorkflowError
from dw.rehearsal import stand_in_component
from dw.workflow.format.pipeline import Component, Pipeline
from dw.workflow.format.placement import Quantization

LOAD_OPTIONS = ("use_safetensors", "low_cpu_mem_usage", "disable_mmap")
FILE_LOAD_OPTIONS = ("disable_mmap",)
"""Those of LOAD_OPTIONS that a whole pipeline in one file takes."""
DEVICE_MAP = "device_map"
FILE_OPTIONS = ("config", "subfolder")
CODE_OPTIONS = ("custom_pipeline", "custom_revision", "trust_remote_code")
LOADER_ARGUMENTS = (
    *("model_name", "from_single_file", "torch_dtype", "dtype", "variant"),
    *HUB_OPTIONS,
    *LOAD_OPTIONS,
    *FILE_OPTIONS,
    DEVICE_MAP,
    *CODE_OPTIONS,
    *KEYS,
)

MADE_AFRESH = ("scheduler_config.json", "guider_config.json")
"""The configs of objects that count steps: schedulers, and the guiders of modular pipelines."""


@dataclass(frozen=True)
class SpecBuilder:
    context: LoadContext
    pipeline: Pipeline
    placement_plan: PlacementPlan
    reused: Mapping[str, PartSpec]

    def spec(self) -> PipelineSpec:
        component_type = self.pipeline.configuration.component_type
        generic = resolve.pipeline_class(component_type, trust=self.context.trust)
        if resolve.is_modular(generic):
            return self._from_blocks(generic)
        if resolve.is_from_transformers(generic):
            return transformers_spec(
                generic, self.pipeline, self.context, self.placement_plan, self._overrides
            )
        if self.context.rehearse:
            return self._from_folder(generic, stand_in_folder(self.pipeline))
        if "from_single_file" in self._arguments:
            return self._from_single_file(generic, str(self._arguments["from_single_file"]))
        if "model_name" in self._arguments:
            return self._from_folder(generic, self._folder(str(self._arguments["model_name"])))
        if resolve.is_generic(generic):
            raise WorkflowError(f"{generic.__name__} needs a model_name")
        return self._assembled(generic, self._overrides, {})

    def _from_folder(self, generic: Any, folder: Path) -> PipelineSpec:
        index = self.context.sources.index(folder)
        cls = self._class(generic, folder)
        known = constructor_signature(cls).components
        listed = {n: v for n, v in index.items() if n in known and isinstance(v, list | tuple)}
        parts: dict[str, PartSpec] = {}
        inside = [folder / n for n, (library, _) in listed.items() if library is not None]
        self._check_variant([each if each.is_dir() else folder for each in inside])
        for name, (library, class_name) in listed.items():
            if library is not None and not self._is_given(name):
                own = self._component_class(folder / name, library, class_name)
                parts[name] = self._indexed(name, own, folder)
        parts |= self._overrides
        return self._assembled(cls, parts, {n: v for n, v in index.items() if n not in listed})

    def _class(self, generic: Any, folder: Path) -> Any:
        """The class of the pipeline in `folder`, whose index may name code in that folder."""
        named = self.context.sources.index(folder)["_class_name"]
        if custom := self._arguments.get("custom_pipeline"):
            revision = self._arguments.get("custom_revision")
            folder = self.context.access.folder
            return remote_code.custom_pipeline(
                custom, folder, trust=self.context.trust, revision=revision
            )
        if isinstance(named, str):
            return resolve.concrete_class(generic, named)
        module, name = named
        return self._own_class(folder / f"{module}.py", name)

    def _component_class(self, folder: Path, library: str, name: str) -> Any:
        own = folder / f"{library}.py"
        if own.is_file():
            return self._own_class(own, name)
        return library_class(library, name, trust=self.context.trust)

    def _own_class(self, file: Path, name: str) -> Any:
        """A class that comes with the model. Raises WorkflowError unless both the user and the
        workflow allow its code."""
        remote_code.require_trust(f"{str(file)!r}", trust=self.context.trust)
        if not self._arguments.get("trust_remote_code"):
            raise WorkflowError(
                f"{str(file)!r} is code that comes with the model",
                hints=['"trust_remote_code": true   in from_pretrained_arguments runs it'],
            )
        return remote_code.class_in(file, name)

    def _from_blocks(self, generic: Any) -> PipelineSpec:
        from dw.engine.models import modular  # what it imports is needed by few workflows

        context, configuration = self.context, self.pipeline.configuration
        blueprint = modular.Blueprint(
            generic, self._modular_folder(), modular.options(self.pipeline)
        )
        skeleton = blueprint.read(context.sources, trust=context.trust)
        parts: dict[str, PartSpec] = {}
        for name, place in modular.places(skeleton).items():
            if modular.is_wanted(name, configuration) and not self._is_given(name):
                source = place.find(context.sources, context.access, self._hub_options)
                cls = place.cls or modular.own_class(context.sources.json(source / "config.json"))
                parts[name] = self._part(name, cls, source, self._arguments)
        parts = self._with_encoder(skeleton._component_specs, parts | self._overrides)
        return modular.ModularSpec(
            cls=type(skeleton),
            components={n: p for n, p in parts.items() if not isinstance(p, SchedulerSpec)},
            schedulers={n: p for n, p in parts.items() if isinstance(p, SchedulerSpec)},
            scalars={},
            placement_plan=self.placement_plan,
            blueprint=blueprint,
            configs=configuration.configs,
            reserve=modular.reserve(configuration),
            blocks=skeleton._blocks,
        )

    def _modular_folder(self) -> Path:
        context, name = self.context, self._arguments.get("model_name")
        if context.rehearse:
            return stand_in_folder(self.pipeline)
        if name is None:
            raise WorkflowError("a modular pipeline needs a model_name")
        return context.sources.modular(str(name), access=context.access, options=self._hub_options)

    def _from_single_file(self, cls: Any, name: str) -> PipelineSpec:
        if resolve.is_generic(cls):
            raise WorkflowError(f"{cls.__name__} cannot load a single file; name the class itself")
        with at("from_pretrained_arguments", "from_single_file"):
            path = self._file(name, self._hub_options)
            self._check_single_file(cls, path)
        arguments, dtypes, config = self._arguments, self._dtypes, self._arguments.get("config")
        folder = None if config is None else self._folder(str(config))
        file = SingleFile(
            cls=cls,
            path=path,
            fingerprint=Fingerprint.of(path, configs=folder),
            config=folder,
            dtype=dtypes.default,
            dtypes=dtypes.named,
            options=tuple((n, arguments[n]) for n in FILE_LOAD_OPTIONS if n in arguments),
            allowed=allowed_by(self._arguments),
        )
        nulls = {n: None for n in constructor_signature(cls).components if self._is_null(n)}
        return replace(self._spec(cls, {**nulls, **self._overrides}, {}), single_file=file)

    def _assembled(
        self, cls: Any, parts: Mapping[str, PartSpec], settings: Mapping[str, Any]
    ) -> PipelineSpec:
        if not self._arguments.keys() & {"model_name", "from_single_file"} and not parts:
            raise RunFailed(f"{cls.__name__} needs a 'model_name' or 'from_single_file'")
        required = constructor_signature(cls).required
        missing = [n for n in required if n not in parts and not self._is_null(n)]
        if missing:
            raise RunFailed(
                f"{cls.__name__} needs {', '.join(missing)}, which the model does not have",
                hints=["component_type and model_name do not belong together"],
            )
        nulls = {name: None for name in required if name not in parts}
        return self._spec(cls, {**nulls, **parts}, settings)

    def _spec(
        self, cls: Any, parts: Mapping[str, PartSpec], settings: Mapping[str, Any]
    ) -> PipelineSpec:
        signature = constructor_signature(cls)
        parts = self._with_encoder(signature.components, parts)
        given = {**settings, **self._arguments}
        return PipelineSpec(
            cls=cls,
            components={n: p for n, p in parts.items() if not isinstance(p, SchedulerSpec)},
            schedulers={n: p for n, p in parts.items() if isinstance(p, SchedulerSpec)},
            scalars={n: given[n] for n in signature.scalars if n in given},
            placement_plan=self.placement_plan,
        )

    @cached_property
    def _overrides(self) -> dict[str, PartSpec]:
        own: dict[str, PartSpec] = {}
        for name, component in self.pipeline.components.items():
            source = "from_single_file"
            if source not in component.from_pretrained_arguments:
                source = "model_name"
            with at(name, "from_pretrained_arguments", source):
                own[name] = self._override(name, component)
        return {**own, **self.reused}

    def _with_encoder(
        self, known: Iterable[str], parts: Mapping[str, PartSpec]
    ) -> dict[str, PartSpec]:
        """The parts, with the image encoder of an IP-Adapter unless there is one."""
        adapter = self.pipeline.ip_adapter
        is_wanted = "image_encoder" in known and parts.get("image_encoder") is None
        encoder = encoder_of(adapter, self.pipeline) if adapter and is_wanted else None
        own = {} if encoder is None else {"image_encoder": self._override("image_encoder", encoder)}
        return {**parts, **own}

    def _override(self, name: str, component: Component) -> PartSpec:
        context, arguments = self.context, component.from_pretrained_arguments
        cls = resolve.component_class(component.configuration.component_type, trust=context.trust)
        if context.rehearse:
            source = self._component_stand_in(name, cls, component)
            return self._part(name, cls, source, {})
        hub = {n: arguments[n] for n in (*HUB_OPTIONS, "variant") if n in arguments}
        if (file := arguments.get("from_single_file")) is not None:
            source = self._file(str(file), hub)
        else:
            model, access = str(arguments.get("model_name")), context.access
            subfolder = arguments.get("subfolder")
            source = context.sources.component(model, subfolder, access=access, options=hub)
            for beside in folders_of(source, cls)[1:]:
                context.sources.require_harmless(beside, model, access=access, options=hub)
        return self._part(name, cls, source, arguments)

    def _indexed(self, name: str, cls: Any, folder: Path) -> PartSpec:
        own = folder / name
        arguments = {} if self.context.rehearse else self._arguments
        arguments = {n: v for n, v in arguments.items() if n != DEVICE_MAP}  # the whole pipeline's
        return self._part(name, cls, own if own.is_dir() else folder, arguments)

    def _part(self, name: str, cls: Any, source: Path, arguments: Mapping[str, Any]) -> PartSpec:
        sources = self.context.sources
        if getattr(cls, "config_name", None) in MADE_AFRESH:
            return SchedulerSpec(cls, sources.json(source / cls.config_name))
        if (configs := self._configs(source, arguments)) is not None:
            arguments = {**arguments, "config": str(configs)}
        fingerprint = Fingerprint.of(*folders_of(source, cls), configs=configs)
        variant = self._variant(name, source, arguments)
        finds_its_class = cls.__name__.startswith("Auto") and not issubclass(cls, ModelMixin)
        runs_code = self.context.trust and arguments.get("trust_remote_code") is True
        code = (("trust_remote_code", runs_code),) if finds_its_class else ()
        if not has_weights(cls):
            return ComponentSpec(
                cls, fingerprint, dtype=None, placement=None, options=code, source=source
            )
        pickles, trust = arguments.get("use_safetensors") is False, self.context.trust
        if check_component(
            source, variant, cls=cls, trust=trust, pickles=pickles, warn=self.context.warn
        ):
            arguments = {**arguments, "use_safetensors": False}
        options = (*LOAD_OPTIONS, *FILE_OPTIONS) if source.is_file() else LOAD_OPTIONS
        device_map = arguments.get(DEVICE_MAP)
        return ComponentSpec(
            cls=cls,
            fingerprint=fingerprint,
            dtype=self._dtypes[name],
            placement=self.placement_plan.of(name),
            variant=variant,
            source=source,
            options=(*code, *loader_options({n: arguments[n] for n in options if n in arguments})),
            device_map=None if device_map is None else json.dumps(device_map, sort_keys=True),
            quantization=self._quantization(name, cls),
            changes=self.placement_plan.changes.get(name, ()),
            allowed=allowed_by(arguments),
        )

    def _configs(self, source: Path, arguments: Mapping[str, Any]) -> Path | None:
        """The folder on this machine with the config of a model in one file, if there is one."""
        if not source.is_file() or (name := arguments.get("config")) is None:
            return None
        access, name = self.context.access, str(name)
        folder = access.path(name)
        if not folder.is_dir():
            return None
        if not self.context.trust:
            self.context.sources.files.require_harmless(folder, name, access, is_own=False)
        return folder

    def _quantization(self, name: str, cls: Any) -> QuantizationSpec | None:
        if not takes_quantization(cls):
            return None
        whole = self.pipeline.quantization
        wanted = self._own_quantization(name)
        if wanted is None and whole is not None:
            wanted = component_quantization(whole, name, cls)
        return quantization_of(name, wanted, self.context)

    def _own_quantization(self, name: str) -> Quantization | None:
        if self._is_override(name):
            return self.pipeline.components[name].quantization
        modular = self.pipeline.configuration.load_components
        return None if modular is None else modular.quantization_config.get(name)

    def _check_variant(self, folders: Sequence[Path]) -> None:
        """Raises RunFailed when no component of the pipeline has files of the variant."""
        if not self.context.rehearse:
            model, variant = str(self._arguments.get("model_name")), self._arguments.get("variant")
            with at("from_pretrained_arguments", "model_name" if variant is None else "variant"):
                check_variant(variant, model, folders)

    def _variant(self, name: str, source: Path, arguments: Mapping[str, Any]) -> str | None:
        """The variant to load. Where only some components of a pipeline have it, diffusers loads
        the plain weights of the others; a component of its own must have it."""
        variant = None if self.context.rehearse else arguments.get("variant")
        if variant is None or not source.is_dir() or has_variant(source, variant):
            return variant if source.is_dir() else None
        if not self._is_override(name) and weight_files(source):
            self.context.warn(f"{name} has no variant {variant!r}: its plain weights are loaded")
            return None
        return str(variant)

    def _check_single_file(self, cls: Any, path: Path) -> None:
        """Raises RunFailed when a file cannot be a whole pipeline."""
        if check_weights(path, "model", trust=self.context.trust).format == "GGUF":
            raise RunFailed(
                f"{str(path)!r} is a GGUF file, which holds one model, not all of {cls.__name__}",
                hints=[
                    "name it as a component beside 'configuration', with from_single_file, and "
                    "the rest of the pipeline with model_name"
                ],
            )

    def _component_stand_in(self, name: str, cls: Any, component: Component) -> Path:
        arguments = component.from_pretrained_arguments
        source = arguments.get("model_name") or arguments.get("from_single_file")
        folder = stand_in_folder(self.pipeline)
        return stand_in_component(folder, name, cls, f"{source}/{arguments.get('subfolder') or ''}")

    def _folder(self, name: str) -> Path:
        options = self._hub_options
        return self.context.sources.pipeline(name, access=self.context.access, options=options)

    def _file(self, name: str, options: Mapping[str, Any]) -> Path:
        """The file of `from_single_file`. Raises RunFailed for the folder of a model."""
        context = self.context
        path = context.sources.file(name, None, access=context.access, options=options)
        if not name.endswith(path.name) and (path.parent / "config.json").is_file():
            raise RunFailed(
                f"{name!r} is the folder of a model, not a file",
                hints=[f'"model_name": "{name}"   in the place of from_single_file loads it'],
            )
        return path

    def _is_given(self, name: str) -> bool:
        """Whether the workflow itself gives this component, or leaves it out."""
        is_other = self._is_override(name) or name in self.reused
        return is_other or self._is_null(name)

    def _is_override(self, name: str) -> bool:
        return name in self.pipeline.components

    def _is_null(self, name: str) -> bool:
        is_remote = self.pipeline.remote_text_encoder is not None and not self.context.rehearse
        if name == "text_encoder" and is_remote:
            return True
        return name in self._arguments and self._arguments[name] is None

    @property
    def _arguments(self) -> dict[str, Any]:
        return self.pipeline.from_pretrained_arguments

    @cached_property
    def _dtypes(self) -> Dtypes:
        return Dtypes(self.pipeline)

    @property
    def _hub_options(self) -> dict[str, Any]:
        known = (*HUB_OPTIONS, "variant", "use_safetensors", "trust_remote_code")
        return {n: self._arguments[n] for n in known if n in self._arguments}
