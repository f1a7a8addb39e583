"""What the classes that a workflow names may be: judged by what they are derived from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dw.engine.python import resolve
from dw.errors import WorkflowError

Resolver = Callable[[str], Any]
CLASSES: dict[str, tuple[Resolver, ...]] = {
    "FluxPipeline": (resolve.pipeline_class,),
    "DiffusionPipeline": (resolve.pipeline_class,),
    "AutoPipelineForInpainting": (resolve.pipeline_class,),
    "MiniMaxH3ModularPipeline": (resolve.pipeline_class,),
    "transformers.pipeline": (resolve.pipeline_class,),
    "transformers.AutoModelForCausalLM": (resolve.pipeline_class, resolve.component_class),
    "transformers.CLIPTextModel": (resolve.pipeline_class, resolve.component_class),
    "transformers.CLIPTokenizer": (resolve.pipeline_class, resolve.component_class),
    "transformers.AutoProcessor": (resolve.pipeline_class, resolve.component_class),
    "transformers.CLIPImageProcessor": (resolve.pipeline_class, resolve.component_class),
    "transformers.WhisperFeatureExtractor": (resolve.pipeline_class, resolve.component_class),
    "UNet2DConditionModel": (resolve.component_class, resolve.object_class),
    "AutoModel": (resolve.component_class, resolve.object_class),
    "EulerDiscreteScheduler": (
        resolve.scheduler_class,
        resolve.component_class,
        resolve.object_class,
    ),
    "ClassifierFreeGuidance": (resolve.component_class, resolve.object_class),
    "VaeImageProcessor": (resolve.object_class,),
    "LayerSkipConfig": (resolve.object_class,),
    "diffusers.modular_pipelines.minimax_h3.MiniMaxH3ImageReference": (resolve.object_class,),
    "diffusers.pipelines.ltx.pipeline_ltx_condition.LTXVideoCondition": (resolve.object_class,),
    "diffusers.callbacks.SDXLCFGCutoffCallback": (resolve.object_class,),
    "BitsAndBytesConfig": (resolve.object_class,),
    "transformers.BitsAndBytesConfig": (resolve.object_class,),
    "transformers.CLIPTextConfig": (resolve.object_class,),
    "transformers.GenerationConfig": (resolve.object_class,),
    "torch.Generator": (resolve.object_class,),
    "diffusers.models.attention_processor.AttnProcessor2_0": (resolve.attention_processor,),
    "diffusers.models.transformers.transformer_flux.FluxAttnProcessor": (
        resolve.attention_processor,
    ),
}
"""Each class, and the places of a workflow that take it besides an argument."""

RESOLVERS: tuple[Resolver, ...] = (
    resolve.pipeline_class,
    resolve.component_class,
    resolve.scheduler_class,
    resolve.object_class,
    resolve.attention_processor,
)

OTHERS = (
    "accelerate.Accelerator",
    "diffusers.OnnxRuntimeModel",
    "diffusers.ModularPipelineBlocks",
    "diffusers.modular_pipelines.modular_pipeline_utils.ComponentSpec",
    "diffusers.modular_pipelines.mellon_node_utils.MellonParam",
    "diffusers.pipelines.flux.pipeline_output.FluxPipelineOutput",
    "diffusers.hooks.ModelHook",
    "diffusers.models.attention_dispatch.AttentionBackendName",
    "diffusers.models.attention_processor.F",
    "torch.Tensor",
    "torch.ScriptModule",
    "transformers.Pipeline",
    "transformers.RagRetriever",
    "transformers.TextStreamer",
    "transformers.Trainer",
    "transformers.TrainingArguments",
)
"""Classes of the known packages, of no kind that a workflow needs."""

UNNAMEABLE = (
    "diffusers.commands.env.EnvironmentCommand",
    "diffusers.training_utils.EMAModel",
    "diffusers.utils.testing_utils.CaptureLogger",
    "diffusers.utils.hub_utils.PushToHubMixin",
    "diffusers.pipelines",
    "torch.hub.Path",
    "torch.utils.data.DataLoader",
    "torch.load",
    "torch._C.Generator",
    "transformers.testing_utils.TestCasePlus",
    "transformers.pipelines.Pipeline",
    "transformers.models.clip.convert_clip_original_pytorch_to_hf.CLIPModel",
    "transformers.dynamic_module_utils.Path",
    "transformers.utils",
    "transformers.set_seed",
    "torchao.prototype.X",
    "sdnq.loader.load_sdnq_model",
    "..x",
    "",
)
"""Names that are not even imported."""


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("resolver", RESOLVERS)
def test_a_class_is_for_the_places_of_its_kind(name: str, resolver: Resolver) -> None:
    if resolver in CLASSES[name]:
        assert resolver(name).__name__
    else:
        with pytest.raises(WorkflowError, match=f"{name.rpartition('.')[2]}' is not a"):
            resolver(name)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("resolver", [*RESOLVERS, resolve.python_class])
def test_other_classes_of_known_packages_are_refused(name: str, resolver: Resolver) -> None:
    with pytest.raises(WorkflowError, match=r" is not a"):
        resolver(name)


@pytest.mark.parametrize("name", UNNAMEABLE)
@pytest.mark.parametrize("resolver", [*RESOLVERS, resolve.python_class])
def test_a_name_that_leads_elsewhere_is_not_imported(
    name: str, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_import(*_: Any) -> None:
        raise AssertionError("it was imported")

    monkeypatch.setattr(resolve, "_module", no_import)
    with pytest.raises(WorkflowError, match="a workflow may not name"):
        resolver(name)


def test_a_class_of_another_package_is_named_as_one_of_that() -> None:
    module = "diffusers.pipelines.flux.pipeline_flux"
    with pytest.raises(WorkflowError, match="is of the package 'transformers'"):
        resolve.component_class(f"{module}.CLIPTextModel")
    assert resolve.component_class(f"{module}.CLIPTextModel", trust=True)


def test_an_argument_may_be_a_class_of_any_of_these_kinds() -> None:
    for name in CLASSES.keys() - {"transformers.pipeline"}:
        assert isinstance(resolve.python_class(name), type)


def test_trust_allows_other_kinds_where_the_library_does() -> None:
    assert resolve.python_class("transformers.TrainingArguments", trust=True)
    assert resolve.object_class("transformers.TrainingArguments", trust=True)
    with pytest.raises(WorkflowError, match="is not a diffusers scheduler"):
        resolve.scheduler_class("transformers.TrainingArguments", trust=True)


@pytest.mark.parametrize("name", ["sdnq", "torchao", "optimum.quanto", "bitsandbytes"])
def test_the_packages_themselves_may_be_imported_for_what_they_register(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(resolve, "_module", lambda module, _: imported.append(module))
    resolve.import_module(name)
    assert imported == [name]


@pytest.mark.parametrize(
    "name", ["this", "torch.utils.bottleneck", "transformers.testing_utils", "sdnq.loader", "os"]
)
def test_other_modules_are_not_imported_for_their_side_effects(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(resolve, "_module", lambda module, _: imported.append(module))
    with pytest.raises(WorkflowError, match="a workflow may not name"):
        resolve.import_module(name)
    assert not imported
    resolve.import_module(name, trust=True)
    assert imported == [name]
