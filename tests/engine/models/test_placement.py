"""Where models live and what is done to them: each setting changes the key that it must, draws what
a cold process draws, and is put back when it can be."""

from __future__ import annotations

import gc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, UNetSpatioTemporalConditionModel
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from dw.engine import Engine
from dw.engine.calls.call_settings import setting_changes
from dw.engine.models.model_state import ModelState
from dw.engine.models.offload_hooks import OnDemand
from dw.rehearsal import stand_in
from dw.workflow.format.configuration import Configuration
from tests.engine.session import CancelsAt, Json, Session, merged, on_a_gpu, text_to_image

FP8 = {"storage_dtype": "torch.float8_e4m3fn"}
LEAVES = {"offload_type": "leaf_level"}
BLOCKS = {"offload_type": "block_level", "num_blocks_per_group": 1}
EAGER = {"backend": "eager"}
ALL = {"transformer", "vae", "text_encoder", "text_encoder_2"}
NORM = "single_transformer_blocks.0.attn.norm_q"


def flux_with(model: Path, **configuration: Any) -> Json:
    pipeline = {"component_type": "FluxPipeline", **configuration}
    return text_to_image(model, configuration=pipeline)


def of(component: str, **settings: Any) -> Json:
    """A configuration with these settings of one component."""
    return {"components": {component: settings}}


def component(session: Session, name: str) -> Any:
    return next(c.value for c in session.engine._cache.components() if c.label == f"gen.{name}")


def cold(session: Session) -> Session:
    """Another engine, with nothing in memory, on the same kind of device."""
    other = Session(Engine(), session.folder)
    other.engine._find_device = session.engine._find_device  # type: ignore[method-assign]
    return other


@pytest.fixture
def gpu(session: Session) -> Session:
    return on_a_gpu(session)


IRREVERSIBLE = [
    ({"enable_layerwise_casting": FP8}, {"transformer"}),
    ({"group_offload": LEAVES}, ALL),
    (
        {"group_offload": {**BLOCKS, "exclude_modules": ["vae", "text_encoder_2"]}},
        {"transformer", "text_encoder"},
    ),
    (of("transformer", group_offload=BLOCKS), ALL),
    (of("text_encoder_2", truncate_layers={"encoder.block": 1}), {"text_encoder_2"}),
    (of("transformer", remove_modules=[NORM]), {"transformer"}),
    (of("text_encoder.embeddings", compile=EAGER), {"text_encoder"}),
    (of("transformer.transformer_blocks", device="cpu"), {"transformer"}),
]  # fmt: skip
REVERSIBLE = [
    {"vae": {"enable_tiling": True, "enable_slicing": True}},
    {"vae": {"channels_last": True}},
    of("vae", enable_tiling=True),
    of("transformer", attention_backend="_native_math"),
    {"enable_attention_slicing": True},
]


@pytest.mark.parametrize(("configuration", "reloads"), IRREVERSIBLE)
def test_what_cannot_be_undone_is_loaded_again(
    gpu: Session, flux: Path, configuration: Json, reloads: set[str]
) -> None:
    plain, changed = flux_with(flux), flux_with(flux, **configuration)
    before = gpu.hashes(plain)
    images = gpu.hashes(changed)
    assert set(gpu.loaded) == set(gpu.dropped) == {f"gen.{name}" for name in reloads}
    assert images == gpu.hashes(changed)
    assert (gpu.reason, gpu.loaded) == ("cached", ())
    assert images == cold(gpu).hashes(changed)
    assert gpu.hashes(plain) == before
    assert gpu.engine.clear().survivors == ()


@pytest.mark.parametrize("configuration", REVERSIBLE)
def test_what_can_be_undone_is_and_loads_nothing(
    session: Session, flux: Path, configuration: Json
) -> None:
    plain, changed = flux_with(flux), flux_with(flux, **configuration)
    before = session.hashes(plain)
    images = session.hashes(changed)
    assert session.loaded == ()
    assert images == cold(session).hashes(changed)
    assert session.hashes(plain) == before
    assert session.loaded == ()


@pytest.mark.parametrize(
    "unet",
    [
        {"channels_last": True},
        {"attn_processor_type": "diffusers.models.attention_processor.AttnProcessor"},
    ],
)
def test_a_unet_is_as_it_was_for_the_next_workflow(
    session: Session, sd15: Path, unet: Json
) -> None:
    plain, changed = text_to_image(sd15), text_to_image(sd15, configuration={"unet": unet})
    before = session.hashes(plain)
    images = session.hashes(changed)
    assert session.loaded == ()
    assert images == cold(session).hashes(changed)
    assert session.hashes(plain) == before


def test_a_switch_that_a_model_does_not_have_is_told(session: Session, sd15: Path) -> None:
    chunks = {"configuration": {"unet": {"enable_forward_chunking": True}}}
    session.run(text_to_image(sd15, **chunks))
    [told] = session.warnings
    assert told == "UNet2DConditionModel has no enable_forward_chunking: it does nothing"


def test_feed_forward_layers_in_parts_are_put_back(stand_ins: None) -> None:
    model = stand_in("StableVideoDiffusionPipeline", "stabilityai/stable-video-diffusion-img2vid")
    unet = UNetSpatioTemporalConditionModel.from_pretrained(model, subfolder="unet")
    layers = [inner for inner in unet.modules() if hasattr(inner, "set_chunk_feed_forward")]
    wanted = Configuration.model_validate(
        {"component_type": "x.Y", "unet": {"enable_forward_chunking": True}}
    )
    [change] = setting_changes(wanted, {"unet": unet})
    state = ModelState(unet)
    change.apply(SimpleNamespace(unet=unet))
    state.push(change)
    assert {layer._chunk_size for layer in layers} == {1}
    assert state.rewind(0)
    assert {layer._chunk_size for layer in layers} == {None}


def test_the_attention_backend_of_one_model_is_not_that_of_all(
    session: Session, flux: Path
) -> None:
    before = _AttentionBackendRegistry._active_backend
    session.run(flux_with(flux, **of("transformer", attention_backend="_native_math")))
    assert _AttentionBackendRegistry._active_backend is before
    processors = component(session, "transformer").attn_processors.values()
    assert {p._attention_backend.value for p in processors} == {"_native_math"}


def test_switches_are_put_back_after_a_cancel(session: Session, flux: Path) -> None:
    plain = flux_with(flux)
    before = session.hashes(plain)
    sliced = flux_with(flux, vae={"enable_tiling": True}, enable_attention_slicing=True)
    session.cancel(sliced, CancelsAt(2))
    assert not component(session, "vae").use_tiling
    assert session.hashes(plain) == before


class TestOnDemand:
    """On the CPU as a device that models visit."""

    def moves(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
        seen: list[tuple[str, bool]] = []
        move = OnDemand._move

        def record(hook: OnDemand, module: torch.nn.Module, *, there: bool) -> None:
            if there != hook._is_there:
                seen.append((type(module).__name__, there))
            move(hook, module, there=there)

        monkeypatch.setattr(OnDemand, "_move", record)
        return seen

    def test_a_model_visits_the_device_for_each_call(
        self, gpu: Session, flux: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = gpu.hashes(flux_with(flux))
        moves = self.moves(monkeypatch)
        settings = {"transformer": {"device": "cpu"}, "vae": {"residency": "on_demand"}}
        visiting = flux_with(flux, components=settings)
        assert gpu.hashes(visiting) == before
        # the text encoders are not named: what is placed by hand leaves them in host memory
        assert moves == [
            (name, there)
            for name in ("CLIPTextModel", "T5EncoderModel", "AutoencoderKL")
            for there in (True, False)
        ]
        assert gpu.hashes(visiting) == before
        assert gpu.loaded == ()
        assert gpu.engine.clear().survivors == ()

    @pytest.mark.parametrize("step", [1, 3])
    def test_a_cancel_in_a_visit_takes_it_home(
        self, gpu: Session, flux: Path, monkeypatch: pytest.MonkeyPatch, step: int
    ) -> None:
        visiting = flux_with(flux, **of("transformer", residency="on_demand"))
        before = gpu.hashes(visiting)

        def interrupted(*_: Any, **__: Any) -> None:
            raise RuntimeError("in the middle")

        with monkeypatch.context() as patch:
            patch.setattr(component(gpu, "transformer"), "_old_forward", interrupted)
            gpu.fail(visiting)
        assert not hasattr(component(gpu, "transformer"), "_hf_hook")
        gpu.cancel(visiting, CancelsAt(step))
        assert gpu.hashes(visiting) == before

    def test_on_the_cpu_it_is_nothing(self, session: Session, flux: Path) -> None:
        before = session.hashes(flux_with(flux))
        visiting = flux_with(flux, **of("transformer", residency="on_demand"))
        assert session.hashes(visiting) == before
        assert session.loaded == ()
        assert session.warnings == []


def test_what_an_offload_overrules_is_told(gpu: Session, flux: Path) -> None:
    configuration = {"offload": "model", **of("vae", residency="on_demand")}
    gpu.run(flux_with(flux, **configuration))
    assert gpu.warnings == [
        "offload 'model' decides where all components live: what the workflow says of "
        "'vae' has no effect"
    ]


def test_an_override_has_its_own_place(gpu: Session, flux: Path) -> None:
    document = flux_with(flux)
    document["steps"][0]["pipeline"]["vae"] = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": str(flux), "subfolder": "vae"},
        "group_offload": LEAVES,
    }
    gpu.run(document)
    assert _is_group_offload_enabled(component(gpu, "vae"))
    assert not _is_group_offload_enabled(component(gpu, "transformer"))


def test_a_text_encoder_is_cast_layer_by_layer(session: Session, flux: Path) -> None:
    document = flux_with(flux)
    plain = session.hashes(document)
    document["steps"][0]["pipeline"]["text_encoder_2"] = {
        "configuration": {"component_type": "transformers.T5EncoderModel"},
        "from_pretrained_arguments": {"model_name": str(flux), "subfolder": "text_encoder_2"},
        "enable_layerwise_casting": FP8,
    }
    images = session.hashes(document)
    assert session.loaded == ("gen.text_encoder_2",)
    assert images == session.hashes(document) != plain
    attention = component(session, "text_encoder_2").encoder.block[0].layer[0].SelfAttention
    assert attention.q.weight.dtype == torch.float8_e4m3fn


def test_layers_of_an_excluded_component_are_not_offloaded(
    gpu: Session, flux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    excluded: list[list[str]] = []
    monkeypatch.setattr(
        FluxPipeline,
        "enable_sequential_cpu_offload",  # its hooks need a device other than the CPU
        lambda self, device: excluded.append(self._exclude_from_cpu_offload),
    )
    gpu.run(flux_with(flux, offload="sequential", exclude_from_cpu_offload=["vae"]))
    assert excluded == [["vae"]]


@pytest.mark.parametrize(
    "setting", [{"group_offload": LEAVES}, {"offload": "model"}, {"sdnq_optimize": ["vae"]}]
)
def test_what_means_nothing_on_the_cpu_is_told(session: Session, flux: Path, setting: Json) -> None:
    before = session.hashes(flux_with(flux))
    assert session.hashes(flux_with(flux, **setting)) == before
    assert session.loaded == ()
    [told] = session.warnings
    assert "means nothing on the CPU" in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"truncate_layers": {"encoder.blok": 1}},
            "T5EncoderModel has no module 'encoder.blok' (did you mean 'encoder.block'?)",
        ),
        ({"truncate_layers": {"shared": 1}}, "'shared' is a Embedding, not a list of layers"),
        ({"remove_modules": ["encoder.blok"]}, "T5EncoderModel has no module 'encoder.blok'"),
        ({"enable_tiling": True}, None),
    ],
)
def test_a_module_that_is_not_there_is_named(
    session: Session, flux: Path, settings: Json, message: str | None
) -> None:
    document = flux_with(flux, **of("text_encoder_2", **settings))
    if message is None:
        session.run(document)
        assert "has no enable_tiling" in session.warnings[0]
    else:
        assert message in session.fail(document).message


def test_a_rehearsal_leaves_out_what_a_stand_in_does_not_have(session: Session) -> None:
    settings = {"truncate_layers": {"layers": 3}, "compile": EAGER}
    document = flux_with(Path("any/model"), **of("text_encoder_2", **settings))
    session.run(document, rehearse=True)
    assert [told.partition(":")[0] for told in session.warnings] == [
        "'text_encoder_2' is rehearsed without being compiled",
        "rehearsed without truncate_layers",
    ]


def test_a_component_that_the_model_does_not_have_is_left_alone(
    session: Session, sd15: Path
) -> None:
    settings = of("safety_checker", residency="on_demand")
    session.run(text_to_image(sd15, configuration=settings))
    assert "gen.safety_checker" not in session.loaded


def test_nothing_is_kept_alive_by_its_hooks(gpu: Session, flux: Path) -> None:
    gpu.run(flux_with(flux, **of("transformer", residency="on_demand")))
    gpu.run(flux_with(flux, **of("transformer", group_offload=BLOCKS)))
    gc.collect()
    names = [name for name, _ in gpu.engine._live_models.living()]
    assert names.count("gen.transformer") == 1


def test_values_that_are_equal_load_nothing(session: Session, flux: Path) -> None:
    session.run(flux_with(flux, enable_layerwise_casting={}))
    session.run(flux_with(flux, enable_layerwise_casting=FP8))
    assert session.loaded == ()


ON_DISK = [
    {"group_offload": {**LEAVES, "offload_to_disk_path": "disk"}},
    {"group_offload": {**BLOCKS, "offload_to_disk_path": "disk"}},
    of("transformer", group_offload={**LEAVES, "offload_to_disk_path": "disk"}),
    of(
        "transformer.transformer_blocks",
        group_offload={**LEAVES, "offload_to_disk_path": "disk"},
    ),
]


class TestOnDisk:
    """Group offloading to disk, on the CPU as the device."""

    @pytest.mark.parametrize("configuration", ON_DISK)
    def test_it_draws_what_it_draws_without_and_beside_a_lora(
        self, gpu: Session, configuration: Json
    ) -> None:
        """In one folder for all components; T5's embedding is the weight of two layers."""
        lora = [{"model_name": "a/lora", "weight_name": "x.safetensors"}]
        plain, on_disk = flux_with(Path("any/model")), flux_with(Path("any/model"), **configuration)
        adapted = [merged(document, {}) for document in (plain, on_disk)]
        for document in adapted:
            document["steps"][0]["pipeline"]["loras"] = lora
        before = gpu.hashes(plain, rehearse=True)
        assert gpu.hashes(on_disk, rehearse=True) == before
        assert gpu.hashes(on_disk, rehearse=True) == before
        assert gpu.reason == "cached"
        # The models that the LoRA is not for stay on disk while it is loaded.
        images = gpu.hashes(adapted[1], rehearse=True)
        assert images != before
        assert gpu.hashes(adapted[0], rehearse=True) == images
        assert gpu.hashes(adapted[1], rehearse=True) == images
        assert gpu.hashes(on_disk, rehearse=True) == before
        assert gpu.hashes(plain, rehearse=True) == before
        gc.collect()
        assert list((gpu.folder / "disk").iterdir()) == []

    def test_a_cancelled_one_is_loaded_again(self, gpu: Session, flux: Path) -> None:
        document = flux_with(flux, **ON_DISK[0])
        before = gpu.hashes(document)
        gpu.cancel(document, CancelsAt(2))
        assert gpu.engine.memory().components != ()  # tokenizers have nothing on disk
        assert gpu.hashes(document) == before
        assert set(gpu.loaded) == {f"gen.{name}" for name in ALL}

    def test_old_and_new_are_never_in_memory_together(
        self, gpu: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = flux_with(Path("any/model"), **ON_DISK[2])
        gpu.run(document, rehearse=True)
        living: list[int] = []
        keep = gpu.engine._live_models.add
        monkeypatch.setattr(
            gpu.engine._live_models,
            "add",
            lambda name, value: (
                living.append(sum(n == name for n, _ in gpu.engine._live_models.living())),
                keep(name, value),
            ),
        )
        lora = [{"model_name": "a/lora", "weight_name": "x.safetensors"}]
        document["steps"][0]["pipeline"]["loras"] = lora
        gpu.run(document, rehearse=True)
        assert living == [0]
