"""Every example is valid, fits the installed libraries and rehearses to files of its kind."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from transformers.utils import is_torchvision_available

import dw.repl.commands.all  # noqa: F401 - it fills the registry
from dw.engine import Engine, RunControl
from dw.errors import WorkflowError
from dw.events import Event, Run, Warned
from dw.repl import script
from dw.types import OutputFile
from dw.workflow import check_files, load_document

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = {"num_inference_steps": 4, "width": 64, "height": 64, "num_frames": 9, "seconds": 0.5}

SAYS = "says "
TABLE: dict[str, list[str]] = tomllib.loads(
    (Path(__file__).parent / "examples.toml").read_text(encoding="utf-8")
)
FILES = {
    name: [entry for entry in entries if not entry.startswith(SAYS)]
    for name, entries in TABLE.items()
}
REMARKS = {
    name: [entry.removeprefix(SAYS) for entry in entries if entry.startswith(SAYS)]
    for name, entries in TABLE.items()
}

pytestmark = [
    # diffusers' own, on each run of SDXL: with numpy 2, and in half precision
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*upcast_vae:FutureWarning"),
    # torch's, of CogVideoX
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*Quanto.* is deprecated:FutureWarning"),
]
LACKING = (
    "means nothing on the CPU",
    "rehearsed with",
    "; rehearsing on cpu",
    ", which is not installed",
)
"""What a rehearsal says of the things that this machine does not have."""

NEED_TORCHVISION = (
    ()
    if is_torchvision_available()
    else ("editing/qwen_image_edit", "video/long_take", "video/to_music")
)
"""Their models do, in a rehearsal as in a real run."""

every_example = pytest.mark.parametrize("name", FILES)


@pytest.fixture(scope="module")
def engine(stand_ins: Path) -> Engine:
    return Engine()


def rehearse(engine: Engine, name: str, folder: Path, **arguments: Any) -> tuple[OutputFile, ...]:
    document = load_document(EXAMPLES / f"{name}.json")
    small = {key: value for key, value in SMALL.items() if key in document.variables}
    emitted: list[Event] = []
    request = Run(
        0,
        str(document.path),
        document.text,
        {**small, **arguments},
        str(folder),
        seed=7,
        device="cpu",
        rehearse=True,
    )
    result = engine.run(document, request, control=RunControl(), emit=emitted.append)
    told = [
        *map(str, document.warnings),
        *(event.message for event in emitted if isinstance(event, Warned)),
    ]
    assert unexpected(told, name) == []
    assert all(any(remark in text for text in told) for remark in REMARKS[name])
    return result.outputs


def unexpected(warnings: Iterable[Any], name: str) -> list[str]:
    known = (*LACKING, *REMARKS[name])
    return [text for text in map(str, warnings) if not any(part in text for part in known)]


def spelled(output: OutputFile) -> str:
    """A file as the table spells it, read back from the disk."""
    if output.content_type.startswith("image/"):
        with Image.open(output.path) as image:
            image.load()
            frames = getattr(image, "n_frames", 1)
            size = f"{image.width}x{image.height}"
            return f"{image.format} {size}{f' x{frames}' if frames > 1 else ''}"
    if output.content_type.startswith("video/"):
        with av.open(output.path) as video:
            frames = sum(1 for _ in video.decode(video=0))
            stream, audios = video.streams.video[0], video.streams.audio
            size = f"{_name(output)} {stream.width}x{stream.height} x{frames}"
            return f"{size} {_seconds(output.path)}" if audios else size
    if output.content_type.startswith("audio/"):
        return f"{_name(output)} {_seconds(output.path)}"
    text = Path(output.path).read_text(encoding="utf-8")
    return f"{_name(output)} {'empty' if not text else 'text'}"


def _name(output: OutputFile) -> str:
    return Path(output.path).suffix[1:].upper()


def _seconds(path: str) -> str:
    """How long the audio in a file lasts; AAC adds up to a tenth of a second."""
    with av.open(path) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        return f"{samples / file.streams.audio[0].rate:.1f} s"


def test_the_table_names_every_example() -> None:
    found = [path.relative_to(EXAMPLES).with_suffix("") for path in EXAMPLES.rglob("*.json")]
    assert sorted(FILES) == sorted(path.as_posix() for path in found)


@every_example
def test_an_example_is_valid_and_says_what_it_is(name: str) -> None:
    document = load_document(EXAMPLES / f"{name}.json")
    assert unexpected(document.warnings, name) == []
    assert check_files(document) == ()
    assert document.id == Path(name).name
    assert document.description
    assert "\n" not in document.description


@every_example
def test_an_example_fits_the_installed_libraries(engine: Engine, name: str) -> None:
    assert engine.check(load_document(EXAMPLES / f"{name}.json")) == ()


@every_example
def test_an_example_rehearses_to_its_files(engine: Engine, name: str, tmp_path: Path) -> None:
    if name in NEED_TORCHVISION:
        with pytest.raises(WorkflowError, match="needs the package 'torchvision'"):
            rehearse(engine, name, tmp_path)
        return
    outputs = rehearse(engine, name, tmp_path)
    assert [spelled(output) for output in outputs] == FILES[name]


def test_the_same_seed_draws_the_same_images(engine: Engine, tmp_path: Path) -> None:
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


def test_the_demo_has_no_mistake_runs_twice_and_then_a_sweep() -> None:
    demo = script.read(str(EXAMPLES / "demo.dw"))
    assert list(script.check(demo)) == []
    assert demo.text.count("\nrun ") == 3
    assert demo.text.count(" prompt=") == 1 + 8
