"""Pipelines and components whose code comes with the workflow or the model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from dw.engine.python.remote_code import custom_pipeline, load_file
from dw.errors import DwError, RunFailed
from tests.engine.session import Json, Session, text_to_image

CUSTOM = """
from diffusers import StableDiffusionPipeline

from .taste import NEGATIVE


class Tasteful(StableDiffusionPipeline):
    def __call__(self, prompt, **arguments):
        return super().__call__(prompt, negative_prompt=NEGATIVE, **arguments)
"""


@pytest.fixture
def custom(session: Session) -> Path:
    """A folder with a pipeline of its own, which always has the same negative prompt."""
    folder = session.folder / "mine"
    folder.mkdir()
    (folder / "pipeline.py").write_text(CUSTOM)
    (folder / "taste.py").write_text("NEGATIVE = 'a dog'")
    return folder


def drawn(model: Path, name: str = "./mine", **arguments: object) -> Json:
    return text_to_image(
        model, from_pretrained_arguments={"custom_pipeline": name}, arguments=arguments
    )


def test_a_custom_pipeline_is_called(session: Session, sd15: Path, custom: Path) -> None:
    same = text_to_image(sd15, arguments={"negative_prompt": "a dog"})
    images = session.hashes(drawn(sd15), trust=True)
    assert images == session.hashes(same) != session.hashes(text_to_image(sd15))
    assert images == session.hashes(drawn(sd15, "mine/pipeline.py"), trust=True)


def test_it_shares_the_models_of_other_pipelines(
    session: Session, sd15: Path, custom: Path
) -> None:
    session.run(text_to_image(sd15))
    session.run(drawn(sd15), trust=True)
    assert session.loaded == ()


def test_an_edit_of_it_is_seen(session: Session, sd15: Path, custom: Path) -> None:
    first = session.hashes(drawn(sd15), trust=True)
    (custom / "taste.py").write_text("NEGATIVE = 'a cat'")
    assert session.hashes(drawn(sd15), trust=True) != first
    (custom / "taste.py").write_text("NEGATIVE = 'a dog'")
    assert session.hashes(drawn(sd15), trust=True) == first
    assert not (custom / "__pycache__").exists()


def test_it_is_rehearsed_on_the_stand_in(session: Session, custom: Path) -> None:
    document = drawn(Path("any/model"))
    assert session.hashes(document, trust=True, rehearse=True)


def test_nothing_of_it_runs_without_trust(session: Session, sd15: Path, custom: Path) -> None:
    (custom / "pipeline.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(DwError, match="the setting 'trust' allows it"):
        session.run(drawn(sd15))
    with pytest.raises(DwError, match="is code that would be run"):  # nor past the checks
        custom_pipeline("mine", session.folder, trust=False)


def test_its_call_is_checked_before_anything_loads(
    session: Session, sd15: Path, custom: Path
) -> None:
    (custom / "pipeline.py").write_text(CUSTOM.replace("prompt, **arguments)", "prompt)"))
    error = session.fail(drawn(sd15), trust=True)
    assert "Tasteful takes no argument 'num_inference_steps'" in str(error.__dict__)
    assert session.engine.memory().components == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nobody", "custom pipeline './nobody' not found: no such file or folder"),
        ("nobody.py", "custom pipeline 'nobody.py' not found: no such file or folder"),
        ("mine/taste.py", "the custom pipeline 'mine/taste.py' must define one pipeline, not none"),
    ],
)
def test_what_is_no_pipeline_is_told(
    session: Session, sd15: Path, custom: Path, name: str, message: str
) -> None:
    assert session.fail(drawn(sd15, name), trust=True).message == message


class TestOfAModel:
    """A model whose index names a pipeline that lies beside it."""

    @pytest.fixture
    def model(self, session: Session, sd15: Path, custom: Path) -> Path:
        folder = Path(shutil.copytree(sd15, session.folder / "model"))
        for file in custom.iterdir():
            shutil.copy(file, folder)
        index = json.loads((folder / "model_index.json").read_text())
        index["_class_name"] = ["pipeline", "Tasteful"]
        (folder / "model_index.json").write_text(json.dumps(index))
        return folder

    def drawn(self, model: Path, *, trust: bool = True) -> Json:
        generic = {"component_type": "DiffusionPipeline"}
        loads = {"trust_remote_code": trust}
        return text_to_image(model, configuration=generic, from_pretrained_arguments=loads)

    def test_it_is_called(self, session: Session, sd15: Path, model: Path) -> None:
        same = text_to_image(sd15, arguments={"negative_prompt": "a dog"})
        assert session.hashes(self.drawn(model), trust=True) == session.hashes(same)

    def test_the_workflow_must_say_so(self, session: Session, model: Path) -> None:
        error = session.fail(self.drawn(model, trust=False), trust=True)
        assert error.message.endswith("is code that comes with the model")
        assert "trust_remote_code" in error.hints[0]

    def test_the_user_must_trust_it(self, session: Session, model: Path) -> None:
        error = session.fail(self.drawn(model, trust=False))
        assert error.message.endswith("is code that would be run")

    def test_so_do_components(self, session: Session, sd15: Path) -> None:
        folder = Path(shutil.copytree(sd15, session.folder / "model"))
        code = "from diffusers import UNet2DConditionModel\nclass Mine(UNet2DConditionModel): pass"
        (folder / "unet" / "mine.py").write_text(code)
        index = json.loads((folder / "model_index.json").read_text())
        index["unet"] = ["mine", "Mine"]
        (folder / "model_index.json").write_text(json.dumps(index))
        document = self.drawn(folder)
        document["steps"][0]["pipeline"]["configuration"]["component_type"] = (
            "StableDiffusionPipeline"
        )
        same = session.hashes(text_to_image(sd15))
        assert session.hashes(document, trust=True) == same
        classes = {row.class_name for row in session.engine.memory().components}
        assert "Mine" in classes


def test_files_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    modules, before = [], sys.dont_write_bytecode
    for number in (1, 2):
        file = tmp_path / str(number) / "pipeline.py"
        file.parent.mkdir()
        file.write_text(f"from .beside import VALUE\nNUMBER = {number}")
        (file.parent / "beside.py").write_text(f"VALUE = {number}")
        modules.append(load_file(file))
    assert [(m.NUMBER, m.VALUE) for m in modules] == [(1, 1), (2, 2)]
    assert load_file(file) is modules[-1]
    assert sys.dont_write_bytecode is before
    with pytest.raises(RunFailed, match="no such file"):
        load_file(tmp_path / "nobody.py")
