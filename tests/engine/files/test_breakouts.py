"""What a workflow from a stranger tries: to run code, to read what it should not, to fill the
machine. None of it needs a model, and none of it works without the user's trust."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file
from torch import zeros

import dw
from dw.engine.execution.iterations import iterations
from dw.engine.files import download
from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import read_audio, read_image, read_video
from dw.engine.media import containers
from dw.errors import RunFailed, TrustWorkflow, WorkflowError
from dw.pixels import FORMATS
from tests.engine.session import TRUSTED, Json, Session, generate, text_to_image, workflow

# ------------------------------------------------------------------ code


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module beside the workflow that leaves a mark when it is imported."""
    mark = tmp_path / "mark"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Pipe: pass\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop("evil", None)


def of_vae(cls: str) -> Json:
    loads = {"model_name": "any/vae"}
    return {"configuration": {"component_type": cls}, "from_pretrained_arguments": loads}


def ways_in(cls: str) -> list[Json]:
    """Every place of a workflow where a class can be named."""
    built = {"thing_type": cls, "from_arguments": {}}
    return [
        {"configuration": {"component_type": cls}},
        {"scheduler": {"configuration": {"scheduler_type": cls}}},
        {"vae": of_vae(cls)},
        {"arguments": {"callback_type": cls}},
        {"arguments": {"thing": built}},
        {"from_pretrained_arguments": {"torch_dtype": cls}},
    ]


@pytest.mark.parametrize("way", range(len(ways_in(""))))
def test_a_module_of_no_known_package_is_not_imported(
    session: Session, evil: Path, way: int
) -> None:
    error = session.fail(text_to_image("any/model", **ways_in("evil.Pipe")[way]))
    assert "evil" in error.message
    assert not evil.exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        *("subprocess.check_output", "os.system", "builtins.eval", "torch.os.system"),
        *("torch.hub.os.system", "diffusers.utils.import_utils.sys.exit", "torch.load"),
    ],
)
@pytest.mark.parametrize("way", range(len(ways_in(""))))
def test_a_function_is_no_class_whoever_imported_it(session: Session, name: str, way: int) -> None:
    error = session.fail(text_to_image("any/model", **ways_in(name)[way]))
    assert isinstance(error, WorkflowError)  # and so nothing was called


@pytest.mark.parametrize(
    "name",
    [
        *("os.environ", "torch.os.environ", "diffusers.utils.import_utils.os.environ"),
        *("torch.__builtins__", "evil.VALUE", "sys.modules", "torch.hub.sys.modules"),
    ],
)
def test_a_constant_does_not_tell_what_is_not_a_known_packages(
    session: Session, evil: Path, name: str
) -> None:
    document = text_to_image("any/model", arguments={"prompt": f"constant:{name}"})
    assert session.fail(document).message
    assert not evil.exists()


class Mark:
    """What unpickling makes: a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    """Weights beside the workflow, as a pickle that leaves a mark."""
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle.dumps(Mark(tmp_path / "mark")))
    return path


def test_a_pickle_is_not_read(session: Session, pickled: Path, sd15: Path) -> None:
    unet = session.folder / "unet"
    unet.mkdir()
    (unet / "config.json").write_text((sd15 / "unet" / "config.json").read_text())
    (unet / "diffusion_pytorch_model.bin").write_bytes(pickled.read_bytes())
    own = of_vae("UNet2DConditionModel") | {"from_pretrained_arguments": {"model_name": "./unet"}}
    single = {"from_pretrained_arguments": {"from_single_file": "./weights.bin"}}
    single_file = text_to_image(sd15, **single)
    del single_file["steps"][0]["pipeline"]["from_pretrained_arguments"]["model_name"]
    for document in (
        text_to_image(sd15, loras=[{"model_name": "./weights.bin"}]),
        text_to_image(sd15, unet=own),
        single_file,
    ):
        error = session.fail(document)
        assert "are pickles; reading them can run code" in error.message
        assert error.remedies == (TrustWorkflow("you trust them"),)
    assert not (session.folder / "mark").exists()


def test_a_pickle_beside_safetensors_cannot_be_asked_for(
    session: Session, pickled: Path, sd15: Path
) -> None:
    unet = session.folder / "unet"
    unet.mkdir()
    (unet / "config.json").write_text((sd15 / "unet" / "config.json").read_text())
    (unet / "diffusion_pytorch_model.bin").write_bytes(pickled.read_bytes())
    save_file({"x": zeros(1)}, unet / "diffusion_pytorch_model.safetensors")
    own = of_vae("UNet2DConditionModel")
    own["from_pretrained_arguments"] = {"model_name": "./unet", "use_safetensors": False}
    assert "are pickles" in session.fail(text_to_image(sd15, unet=own)).message
    assert not (session.folder / "mark").exists()


# ------------------------------------------------------------------ addresses and bodies


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "127.1", "0x7f000001", "0.0.0.0", "[::]", "localhost.", "[::ffff:7f00:1]"),
        *("user:password@127.0.0.1", "example.com@127.0.0.1"),
    ],
)
def test_a_private_address_is_one_however_it_is_spelled(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    began = time.monotonic()
    with pytest.raises(RunFailed):
        read_image(f"http://{host}:9/cat.png", FileAccess(Path()))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:image/png,x"])
def test_only_http_is_an_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"no such file|is outside"):
        read_image(url, FileAccess(tmp_path))


class Endless(BaseHTTPRequestHandler):
    """Bodies that never end: one that says how long it is, one that does not, one that drips."""

    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/told.png":
            self.send_header("Content-Length", str(10 * 10**9))
        self.end_headers()
        chunk = b"\0" * (1 if self.path == "/drips.png" else 2**16)
        try:
            while True:
                self.wfile.write(chunk)
                Endless.sent += len(chunk)
        except OSError:
            pass  # nobody listens any more

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    Endless.sent = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_body_of_10_gb_is_cut_at_the_limit(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", 4 * 2**20)
    with pytest.raises(RunFailed, match="it is larger than 4 MiB"):
        read_image(f"{endless}/untold.png", FileAccess(Path(), permissions=TRUSTED))
    assert Endless.sent < 32 * 2**20  # what fits into the sockets comes on top


def test_a_body_that_says_how_long_it_is_is_not_even_begun(endless: str) -> None:
    began = time.monotonic()
    with pytest.raises(RunFailed, match="it is larger than 256 MiB"):
        read_image(f"{endless}/told.png", FileAccess(Path(), permissions=TRUSTED))
    assert time.monotonic() - began < 5
    assert Endless.sent < 32 * 2**20


def test_a_body_that_drips_has_an_end(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LONGEST_S", 0.1)
    with pytest.raises(RunFailed, match=r"it took more than 0 s"):
        read_image(f"{endless}/drips.png", FileAccess(Path(), permissions=TRUSTED))


# ------------------------------------------------------------------ files


def test_an_image_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 2**20)
    path = tmp_path / "bomb.png"
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(RunFailed, match="decompression bomb"):
        read_image("bomb.png", FileAccess(tmp_path))


@pytest.fixture
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that no workflow may read."""
    path = tmp_path_factory.mktemp("secret") / "film.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 32
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["list.ffconcat", "list.m3u8", "film.mp4"])
@pytest.mark.parametrize("target", ["file", "address"])
def test_a_playlist_leads_nowhere(
    tmp_path: Path, video: Path, endless: str, name: str, target: str
) -> None:
    place = str(video) if target == "file" else f"{endless}/told.mp4"
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{place}\n#EXT-X-ENDLIST\n"
    }
    text = lists.get(name, f"ffconcat version 1.0\nfile '{place}'\n")
    (tmp_path / name).write_text(text)
    with pytest.raises(RunFailed, match="cannot read the video"):
        read_video(name, FileAccess(tmp_path))
    assert Endless.sent == 0


def test_media_of_others_are_opened_in_one_place() -> None:
    """`dw.engine.media.video` opens what dw itself has written."""
    engine = Path(containers.__file__).parents[1]
    users = [p.name for p in engine.rglob("*.py") if "av.open(" in p.read_text(encoding="utf-8")]
    assert sorted(users) == ["containers.py", "video.py"]


def test_images_are_opened_in_one_place() -> None:
    package = Path(dw.__file__).parent
    users = [p.name for p in package.rglob("*.py") if "Image.open(" in p.read_text("utf-8")]
    assert users == ["pixels.py"]


def saved(folder: Path, form: str) -> str:
    """An image in this format of Pillow, under the name of a PNG."""
    Image.new("L", (8, 8)).convert("1" if form in ("MSP", "XBM") else "L").save(
        folder / "cat.png", form
    )
    return "cat.png"


@pytest.mark.parametrize("form", ["DDS", "EPS", "ICO", "JPEG2000", "MSP", "PCX", "PPM"])
@pytest.mark.parametrize("read", [read_image, read_video])
def test_an_image_of_another_format_is_not_opened(tmp_path: Path, form: str, read: Any) -> None:
    name = saved(tmp_path, form)
    with pytest.raises(RunFailed, match=r"not a valid image file|no format that is read"):
        read(name, FileAccess(tmp_path))


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_a_known_format_is_read_under_any_name(tmp_path: Path, form: str) -> None:
    assert read_image(saved(tmp_path, form), FileAccess(tmp_path)).size == (8, 8)


@pytest.mark.parametrize("form", ["asf", "caf", "flv", "nut", "w64"])
def test_a_video_of_another_format_is_not_opened(tmp_path: Path, form: str) -> None:
    with av.open(tmp_path / "film.mp4", "w", format=form) as container:
        codec = "aac" if form in ("asf", "flv", "nut") else "pcm_s16le"
        stream = container.add_stream(codec, rate=44_100)
        samples = np.zeros((1, 1024), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.rate = 44_100
        for each in (frame, None):
            container.mux(stream.encode(each))
    for read in (read_audio, read_video):
        with pytest.raises(RunFailed, match="its content is of no format that is read"):
            read("film.mp4", FileAccess(tmp_path))


def test_a_video_is_read_all_the_same(video: Path) -> None:
    assert len(read_video(video.name, FileAccess(video.parent))) == 2


# ------------------------------------------------------------------ numbers


def test_a_million_combinations_are_not_begun() -> None:
    arguments = {"a": "previous_result:x", "b": "previous_result:x"}
    with pytest.raises(RunFailed, match="give 1000000 combinations; at most 10000 are run"):
        next(iterations(arguments, lambda _: list(range(1000))))


def test_a_step_of_a_million_iterations_is_refused(session: Session) -> None:
    step = {"name": "a", "task": {"command": "gather_inputs", "inputs": [list(range(1000))]}}
    both = {"one": "previous_result:a", "other": "previous_result:a"}
    pair = {"name": "b", "task": {"command": "gather_inputs", "arguments": both}}
    assert "1000000 combinations" in session.fail(workflow(step, pair)).message


def test_bytes_of_the_wrong_kind_are_not_an_image(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(io.BytesIO(b"MZ").getvalue())
    with pytest.raises(RunFailed, match="not a valid image file"):
        read_image("cat.png", FileAccess(tmp_path))


def test_a_result_stays_in_the_runs_folder(session: Session) -> None:
    step = generate("any/model") | {"result": {"content_type": "image/png", "file_base_name": "/"}}
    assert "cannot hold / or" in session.fail(workflow(step)).message
