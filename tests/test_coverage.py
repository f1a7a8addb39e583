"""Every key, form and command of the format has a test and an example."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)

# What no example has yet: an entry that has one is taken out here.
WITHOUT_EXAMPLE = {
    "Chain.carry_audio",
    "Chain.carry_frames",
    "Chain.continuity",
    "Chain.match_audio",
    "Compile.backend",
    "Compile.fullgraph",
    "Compile.mode",
    "Compile.options",
    "ComponentsManager.enable_auto_cpu_offload",
    "ComponentsManager.memory_reserve_margin",
    "Configuration.components_manager",
    "Configuration.image_encoder",
    "Configuration.inversion",
    "Configuration.reused_components",
    "Configuration.shared_components",
    "GroupOffload.offload_to_disk_path",
    "IpAdapter.image_encoder_folder",
    "IpAdapter.image_encoder_pretrained_model_name_or_path",
    "IpAdapter.image_encoder_subfolder",
    "LayerwiseCasting.non_blocking",
    "LayerwiseCasting.skip_modules_pattern",
    "LoadComponents.names",
    "LoadComponents.quantization_config",
    "ModuleGroupOffload.block_modules",
    "ModuleGroupOffload.exclude_kwargs",
    "Pipeline.audio_scheduler",
    "Pipeline.remote_text_encoder",
    "PipelineReference.chain",
    "Placed.do_not_send_to_device",
    "RemoteTextEncoder.url",
    "TransformerSettings.attn_processor_type",
    "UnetSettings.enable_forward_chunking",
    "extract_sections",
    "get_first_frame",
    "interpolate_frames",
    "text_generation",
    "video_frames",
}


@pytest.mark.parametrize("use", generate.coverage.uses(), ids=lambda use: use.name)
def test_it_is_tested_and_shown(use):
    assert use.test, f"no test names {use.name}"
    assert use.example or use.name in WITHOUT_EXAMPLE, f"no example has {use.name}"
