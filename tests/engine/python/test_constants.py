"""`constant:NAME` for real: imported, and given to the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers.pipelines.ltx2 import utils
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from transformers.image_utils import OPENAI_CLIP_MEAN

from dw.engine.python import resolve
from dw.errors import WorkflowError
from tests.engine.session import Json, Session, text_to_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LTX = "diffusers.pipelines.ltx2.utils"
SIGMAS = f"constant:{LTX}.STAGE_2_DISTILLED_SIGMA_VALUES"
KARRAS = "diffusers.schedulers.scheduling_utils.KarrasDiffusionSchedulers.DDIMScheduler"
VALUES = utils.STAGE_2_DISTILLED_SIGMA_VALUES
COMPUTED = "constant:diffusers.pipelines.stable_diffusion_xl.watermark.WATERMARK_BITS"
BITS = [1 if bit == "1" else 0 for bit in f"{0b101100111110110010010000011110111011000110011110:b}"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (SIGMAS, VALUES),
        ("constant:torch.float16", torch.float16),
        (
            "constant:diffusers.pipelines.flux.pipeline_flux.FluxPipeline.model_cpu_offload_seq",
            "text_encoder->text_encoder_2->image_encoder->transformer->vae",
        ),
        (COMPUTED, BITS),
    ],
)
def test_the_longest_module_is_imported_and_the_rest_are_attributes(text: str, value: Any) -> None:
    assert resolve.constant(text) == value


def test_a_list_is_a_copy() -> None:
    resolve.constant(SIGMAS).append(0.0)
    assert resolve.constant(SIGMAS) == VALUES


def test_trust_reaches_every_package() -> None:
    with pytest.raises(WorkflowError, match="would import"):
        resolve.constant("constant:math.pi")
    assert resolve.constant("constant:math.pi", trust=True) > 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("constant:torch.nobody.X", "torch has no 'nobody'"),
        ("constant:torch.float16.nobody", "dtype has no 'nobody'"),
        (f"constant:{LTX}.nobody", "utils has no constant 'nobody'"),
        ("constant:torch.save", "is a function or a class, not a value"),
        ("constant:torch.cuda", "is not in a module of models and their configurations"),
        ("constant:torch.hub.load", "is not in a module of models and their configurations"),
        ("constant:torch.os.environ", "which leads into the module 'os'"),
        (f"constant:{LTX}.torch.pi", "which leads into the module 'torch'"),
        ("constant:diffusers.utils.logging.sys.modules", "is not in a module of models"),
        ("constant:diffusers.hooks.hooks.logger", "which is a Logger and no plain value"),
        ("constant:torch._C.__loader__", "names a private attribute of Python"),
    ],
)
def test_what_is_no_constant_is_refused(text: str, message: str) -> None:
    with pytest.raises(WorkflowError) as error:
        resolve.constant(text)
    assert message in error.value.message


def test_an_object_that_a_known_package_imported_for_itself_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    for hidden in (os.environ, [os.environ], {"a": (1, os.environ)}, {os: 1}):
        monkeypatch.setattr(utils, "DEFAULT_NEGATIVE_PROMPT", hidden)
        with pytest.raises(WorkflowError, match="and no plain value"):
            resolve.constant(f"constant:{LTX}.DEFAULT_NEGATIVE_PROMPT")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("constant:torch.pi", torch.pi),
        ("constant:transformers.image_utils.OPENAI_CLIP_MEAN", OPENAI_CLIP_MEAN),
        (f"constant:{KARRAS}", KarrasDiffusionSchedulers.DDIMScheduler),
    ],
)
def test_numbers_and_members_of_enums_are_values(text: str, value: Any) -> None:
    assert resolve.constant(text) == value


def test_a_value_is_read_without_running_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made:
        @property
        def value(self) -> int:
            raise AssertionError("it ran")

    monkeypatch.setattr(utils, "DEFAULT_NEGATIVE_PROMPT", Made())
    with pytest.raises(WorkflowError, match="which is a property and no plain value"):
        resolve.constant(f"constant:{LTX}.DEFAULT_NEGATIVE_PROMPT.value")


class TestInAWorkflow:
    """Stable Diffusion with the sigmas of another model."""

    EULER: ClassVar[Json] = {"configuration": {"scheduler_type": "EulerDiscreteScheduler"}}

    def test_it_is_as_if_its_value_were_written_out(self, warm: Session, sd15: Path) -> None:
        document, written = (
            text_to_image(
                sd15,
                scheduler=self.EULER,
                arguments={"sigmas": each, "num_inference_steps": 3},
            )
            for each in (SIGMAS, VALUES)
        )
        plain = text_to_image(sd15, scheduler=self.EULER, arguments={"num_inference_steps": 3})
        assert warm.hashes(document) == warm.hashes(written) != warm.hashes(plain)

    def test_an_argument_may_be_one(self, warm: Session, sd15: Path) -> None:
        document = text_to_image(
            sd15, scheduler=self.EULER, arguments={"sigmas": "variable:sigmas"}
        )
        declared = {**document, "variables": {"sigmas": None}}
        assert warm.hashes(declared, sigmas=SIGMAS) == warm.hashes(declared, sigmas=VALUES)
        recorded = json.loads(
            (Path(warm.run(declared, sigmas=SIGMAS).output_dir) / "run.json").read_text()
        )
        assert recorded["arguments"] == {"sigmas": SIGMAS}
        assert recorded["resolved_arguments"] == {"sigmas": VALUES}

    def test_a_computed_default_has_its_type_when_it_runs(self, warm: Session, sd15: Path) -> None:
        document = text_to_image(
            sd15, scheduler=self.EULER, arguments={"timesteps": "variable:timesteps"}
        )
        declared = {**document, "variables": {"timesteps": COMPUTED}}
        given = warm.hashes(declared, timesteps="900, 500, 100")
        assert given == warm.hashes(declared, timesteps=[900, 500, 100])

    def test_every_one_that_is_not_there_is_told_with_its_place(
        self, warm: Session, sd15: Path
    ) -> None:
        arguments = {"sigmas": "constant:torch.qqqqq.X", "timesteps": "constant:torch.half.qqqqq"}
        document = warm.document(text_to_image(sd15, arguments=arguments))
        problems = warm.engine.check(document)
        assert [problem.message for problem in problems] == [
            "torch has no 'qqqqq'",
            "dtype has no 'qqqqq'",
        ]
        with pytest.raises(WorkflowError) as error:
            warm.run(document)
        assert error.value.problems == problems
