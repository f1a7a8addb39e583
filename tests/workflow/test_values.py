"""Keys that take any value of their type: what fits is kept, what does not is named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.samples import messages, of_pipeline, parse

GROUPS = {"offload_type": "leaf_level"}
ADAPTER = {"model_name": "some/adapter"}

KEYS = [
    (("configuration", "text_encoder_3"), {"torch_dtype": "torch.float32"}, 5, "an object"),
    (("configuration", "image_encoder"), {"torch_dtype": "torch.float32"}, 5, "an object"),
    (("configuration", "group_offload", "non_blocking"), True, 1, "true or false"),
    (("configuration", "group_offload", "record_stream"), True, "yes", "true or false"),
    (("configuration", "group_offload", "low_cpu_mem_usage"), True, 1, "true or false"),
    (("configuration", "enable_layerwise_casting", "skip_modules_pattern"), ["norm"], 5, "a list"),
    (("configuration", "enable_layerwise_casting", "non_blocking"), True, 1, "true or false"),
    (("configuration", "components", "vae", "compile", "repeated_blocks"), True, 1, "true or"),
    (("configuration", "components", "vae", "compile", "fullgraph"), True, 1, "true or false"),
    (("configuration", "components", "vae", "compile", "dynamic"), False, 1, "true or false"),
    (("configuration", "components", "vae", "group_offload", "block_modules"), ["a"], 5, "a list"),
    (("configuration", "components", "vae", "group_offload", "exclude_kwargs"), ["a"], 5, "a list"),
    (("ip_adapter", "image_encoder_subfolder"), "image_encoder", 5, "a string"),
]


def with_value(path: tuple[str, ...], value: Any) -> Any:
    """A workflow whose pipeline has the value at that path."""
    data: Any = value
    for key in reversed(path):
        beside = {"group_offload": GROUPS, "ip_adapter": ADAPTER}
        data = {key: {**beside.get(key, {}), **data} if isinstance(data, dict) else data}
    configuration = {"component_type": "FluxPipeline", **data.pop("configuration", {})}
    call = {"prompt": "a fox", "ip_adapter_image": "https://example.com/fox.png"}
    return of_pipeline(configuration=configuration, arguments=call, **data)


@pytest.mark.parametrize(("path", "right", "wrong", "kind"), KEYS, ids=lambda each: str(each)[:60])
def test_a_key_takes_what_fits(path: tuple[str, ...], right: Any, wrong: Any, kind: str) -> None:
    assert parse(with_value(path, right)).warnings == ()
    assert any(
        told.startswith(f"{path[-1]!r} must be {kind}")
        for told in messages(with_value(path, wrong))
    )
