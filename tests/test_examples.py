"""Every example is valid, fits the installed libraries and rehearses to pictures of its size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.engine import Engine, RunControl
from dw.rehearsal import store
from dw.repl import commands, script
from dw.report import Output
from dw.workflow import check_world, load_document

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = {"num_inference_steps": 4, "width": 64, "height": 64}

PICTURES = {
    "FluxDev": [(64, 64, "PNG")],
    "img2img": [(512, 512, "PNG")],
    "lora": [(64, 64, "PNG")],
    "sd15": [(64, 64, "PNG")],
    "sdxl": [(64, 64, "PNG")],
    "tasks": [(64, 64, "PNG"), (256, 256, "JPEG"), (64, 64, "PNG")],
    "test": [(64, 64, "PNG")],
    "two_step": [(64, 64, "PNG"), (64, 64, "PNG")],
}
"""Width, height and format of what each example saves when it is run with SMALL."""

pytestmark = [
    # diffusers' own, on each run of SDXL: with numpy 2, and in half precision
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*upcast_vae:FutureWarning"),
]
every_example = pytest.mark.parametrize("name", PICTURES)


class Audience:
    """An observer that remembers the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, message: str) -> None:
        self.warnings.append(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setattr(store, "cache_dir", lambda: cache)
        yield Engine()


def rehearse(engine: Engine, name: str, folder: Path, **arguments: Any) -> tuple[Output, ...]:
    document = load_document(EXAMPLES / f"{name}.json")
    small = {key: value for key, value in SMALL.items() if key in document.variables}
    audience = Audience()
    result = engine.run(
        document,
        arguments={**small, **arguments},
        seed=7,
        output_dir=folder,
        device="cpu",
        rehearse=True,
        trust=False,
        control=RunControl(),
        observer=audience,
    )
    assert audience.warnings == []
    return result.outputs


def size_and_format(path: str) -> tuple[int, int, str | None]:
    with Image.open(path) as picture:
        picture.load()
        return picture.width, picture.height, picture.format


def test_the_table_names_every_example() -> None:
    assert sorted(PICTURES) == sorted(path.stem for path in EXAMPLES.glob("*.json"))


@every_example
def test_an_example_is_valid_and_says_what_it_is(name: str) -> None:
    document = load_document(EXAMPLES / f"{name}.json")
    assert document.warnings == ()
    assert check_world(document) == ()
    assert document.id == name
    assert document.description
    assert "\n" not in document.description


@every_example
def test_an_example_fits_the_installed_libraries(engine: Engine, name: str) -> None:
    assert engine.check(load_document(EXAMPLES / f"{name}.json")) == ()


@every_example
def test_an_example_rehearses_to_its_pictures(engine: Engine, name: str, tmp_path: Path) -> None:
    outputs = rehearse(engine, name, tmp_path)
    assert [size_and_format(output.path) for output in outputs] == PICTURES[name]


def test_the_same_seed_draws_the_same_pictures(engine: Engine, tmp_path: Path) -> None:
    first, second = (rehearse(engine, "two_step", tmp_path) for _ in range(2))
    assert [output.sha256 for output in first] == [output.sha256 for output in second]


def test_the_scale_of_the_lora_is_seen(engine: Engine, tmp_path: Path) -> None:
    scales = (1.0, 0.0, 1.0)
    full, none, again = (
        rehearse(engine, "lora", tmp_path, lora_scale=scale)[0].sha256 for scale in scales
    )
    assert full == again != none


def test_the_second_step_draws_over_the_first(engine: Engine, tmp_path: Path) -> None:
    prompts = ("a lighthouse", "a windmill")
    one, other = (rehearse(engine, "two_step", tmp_path, prompt=prompt) for prompt in prompts)
    assert one[1].sha256 != other[1].sha256


def test_the_demo_has_no_mistake_and_runs_twice() -> None:
    assert commands  # imported, they fill the registry
    demo = script.read(str(EXAMPLES / "demo.dw"))
    assert list(script.check(demo)) == []
    assert demo.text.count("\nrun ") == 2
