"""Quantization: from a workflow's config class and arguments to the object that a loader takes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from diffusers import ModelMixin, PipelineQuantizationConfig
from diffusers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as OF_DIFFUSERS
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING as OF_TRANSFORMERS

from dw.engine.models.context import LoadContext
from dw.engine.models.spec import QuantizationSpec
from dw.engine.python import kinds, resolve
from dw.errors import RunFailed, WorkflowError, did_you_mean, told
from dw.extras import EXTRAS, missing_package
from dw.workflow.format.construction import is_dtype_key, is_type_key
from dw.workflow.format.placement import Quantization

PACKAGES = {
    "BitsAndBytesConfig": "bitsandbytes",
    "GGUFQuantizationConfig": "gguf",
    "QuantoConfig": "optimum",
    "SDNQConfig": "sdnq",
    "TorchAoConfig": "torchao",
}
"""The package that quantizes, by the name of the config class, which diffusers and transformers
share."""

UNREHEARSED = {
    "BitsAndBytesConfig": "the layers of the stand-ins are smaller than its blocks",
    "GGUFQuantizationConfig": "the stand-ins are not GGUF files",
}


def takes_quantization(cls: Any) -> bool:
    """Whether its loader quantizes: that of models of diffusers and transformers, also of those
    whose class only their config names."""
    names_above = {base.__name__ for base in getattr(cls, "__mro__", ())}
    return bool(names_above & {"ModelMixin", "PreTrainedModel", "_BaseAutoModelClass", "AutoModel"})


def require_backend(config_type: str) -> None:
    """Raises RunFailed when the package that quantizes is not installed."""
    if message := _missing(config_type):
        raise RunFailed(message)


def cannot_rehearse(config_type: str) -> str | None:
    """Why a rehearsal leaves this quantization out; None when it does not."""
    name = config_type.rpartition(".")[2]
    package = PACKAGES.get(name)
    if _missing(config_type) and package is not None:
        return f"the extra {EXTRAS[package]!r} is not installed"
    return UNREHEARSED.get(name)


def _missing(config_type: str) -> str | None:
    package = PACKAGES.get(config_type.rpartition(".")[2])
    return None if package is None else missing_package(config_type, package)


def config_class(name: str, *, trust: bool = False) -> Any:
    """Raises WorkflowError for a class that is not a quantization config."""
    kind = f"a quantization config, such as {', '.join(PACKAGES)}"
    return resolve.resolve(name, kinds.is_quantization, kind, trust=trust)


def quantization_of(
    name: str, wanted: Quantization | None, context: LoadContext
) -> QuantizationSpec | None:
    """How the component `name` is quantized. A rehearsal warns of what it leaves out."""
    if wanted is None:
        return None
    if context.rehearse and (reason := cannot_rehearse(wanted.config_type)):
        context.warn(f"{name!r} is rehearsed without {wanted.config_type}: {reason}")
        return None
    return quantization_spec(wanted, trust=context.trust)


def quantization_spec(quantization: Quantization, *, trust: bool = False) -> QuantizationSpec:
    """Raises RunFailed when a package is missing, WorkflowError for a class that is not a
    quantization config and for unknown types."""
    require_backend(quantization.config_type)
    return QuantizationSpec(
        cls=config_class(quantization.config_type, trust=trust),
        options=json.dumps(quantization.arguments, sort_keys=True, default=str),
        arguments={n: _value(n, v, trust) for n, v in quantization.arguments.items()},
    )


def built(spec: QuantizationSpec) -> Any:
    """A config for one load. Raises RunFailed when its class rejects the arguments."""
    try:
        return spec.cls(**spec.arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise RunFailed(f"{spec.cls.__name__}: {told(error)}") from error


def is_of_pipelines(quantization: Quantization) -> bool:
    name: str = PipelineQuantizationConfig.__name__
    return quantization.config_type.rpartition(".")[2] == name


def of_one_component(quantization: Quantization) -> str:
    """The message for a config that cannot quantize a whole pipeline."""
    return (
        f"{quantization.config_type} quantizes one component: it goes beside that component's "
        "configuration; a whole pipeline takes PipelineQuantizationConfig"
    )


def component_quantization(whole: Quantization, name: str, cls: Any) -> Quantization | None:
    """What a pipeline's PipelineQuantizationConfig says of one component.

    Raises WorkflowError for an unknown backend, and for a config of another kind.
    """
    if not is_of_pipelines(whole):
        raise WorkflowError(of_one_component(whole))
    arguments = whole.arguments
    if (mapping := arguments.get("quant_mapping")) is not None:
        return Quantization.model_validate(mapping[name]) if name in mapping else None
    chosen = arguments.get("components_to_quantize")
    if chosen and name not in ([chosen] if isinstance(chosen, str) else chosen):
        return None
    configs: Mapping[str, Any] = OF_DIFFUSERS if issubclass(cls, ModelMixin) else OF_TRANSFORMERS
    backend = str(arguments.get("quant_backend"))
    if backend not in configs:
        hint = did_you_mean(backend, configs) or f"; known are {', '.join(sorted(configs))}"
        raise WorkflowError(f"unknown quant_backend {backend!r}{hint}")
    config = configs[backend]
    return Quantization.model_validate(
        {
            "configuration": {"config_type": f"{config.__module__}.{config.__qualname__}"},
            "arguments": arguments.get("quant_kwargs") or {},
        }
    )


def config_parameters(cls: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a config class."""
    parameters = dict(inspect.signature(cls.__init__).parameters)
    parameters.pop("self", None)
    return parameters


def _value(name: str, value: Any, trust: bool) -> Any:
    if not (isinstance(value, str) and is_type_key(name)):
        return value
    if value.startswith("{") and value.endswith("}"):
        return value[1:-1]
    if is_dtype_key(name):
        return resolve.dtype(value)
    kind = "a type of quantization, such as torchao.quantization.Int8WeightOnlyConfig"
    found = resolve.resolve(value, kinds.is_quantization_type, kind, trust=trust)
    return found() if isinstance(found, type) else found
