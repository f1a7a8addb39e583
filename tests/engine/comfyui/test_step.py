"""A step that ComfyUI does: what the server is sent, what comes back, what is told of failures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from dw.engine import comfyui
from dw.engine.cancellation import Cancelled
from dw.engine.comfyui.client import Client
from dw.engine.comfyui.prompt_run import connected
from dw.engine.files.access import FileAccess
from dw.errors import RunFailed
from dw.types import Permissions
from dw.workflow.format.comfyui import ComfyUI
from tests.engine.comfyui.fake import FakeComfyUI


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeComfyUI]:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    fake = FakeComfyUI()
    yield fake
    fake.close()


def graph(prefix: str = "dw", **first: Any) -> dict[str, Any]:
    empty = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 6, "color": 255}}
    inputs = {"images": ["1", 0], "filename_prefix": prefix}
    return {"1": first or empty, "2": {"class_type": "SaveImage", "inputs": inputs}}


def run(server: FakeComfyUI, prompt: dict[str, Any], inputs: Any = (), **options: Any) -> list[Any]:
    client = options.pop("client", None) or client_of(server)
    told = {"outputs": (), "progress": lambda *_: None, "warn": lambda _: None, **options}
    return comfyui.run_graph(client, prompt, dict(inputs), **told)


def client_of(server: FakeComfyUI, check: Any = lambda: None) -> Client:
    return Client(server.url, private=True, is_named=False, check=check)


def fail(server: FakeComfyUI, prompt: dict[str, Any], inputs: Any = (), **options: Any) -> str:
    with pytest.raises(RunFailed) as caught:
        run(server, prompt, inputs, **options)
    return caught.value.message


def test_a_picture_comes_back_as_it_was_made(server: FakeComfyUI) -> None:
    steps: list[tuple[int, int]] = []
    [image] = run(server, graph(), {"1.width": 10}, progress=lambda *step: steps.append(step))
    assert (image.size, image.getpixel((0, 0))) == ((10, 6), (0, 0, 255))
    assert steps[-1] == (2, 2)
    assert steps == sorted(steps)


def test_without_the_socket_the_history_does(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.engine.comfyui.socket.is_installed", lambda _: False)
    assert [image.size for image in run(server, graph())] == [(8, 6)]
    assert "GET /ws" not in server.asked


def test_a_socket_that_breaks_is_opened_again_as_the_same_client(server: FakeComfyUI) -> None:
    server.hang_up = 2
    steps: list[tuple[int, int]] = []
    assert len(run(server, graph(), progress=lambda *step: steps.append(step))) == 1
    assert len(server.clients) == 3
    assert len(set(server.clients)) == 1
    assert steps == [(0, 2), (1, 2), (2, 2)]


def test_a_socket_that_always_breaks_is_left_and_the_history_does(
    server: FakeComfyUI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.engine.comfyui.socket.CONNECTIONS", 1)
    server.hang_up, server.reconnects = 9, False
    assert [image.size for image in run(server, graph())] == [(8, 6)]
    assert len(server.clients) == 1


def test_names_that_need_encoding(server: FakeComfyUI) -> None:
    assert [image.size for image in run(server, graph("sub dir/é#1 a&b%20"))] == [(8, 6)]


def test_each_run_has_file_names_of_its_own(server: FakeComfyUI) -> None:
    run(server, graph())
    run(server, graph())
    assert len(server.files) == 2


def test_an_image_is_uploaded_and_loaded_by_the_name_that_the_server_gave(
    server: FakeComfyUI,
) -> None:
    load = {"class_type": "LoadImage", "inputs": {"image": "none.png"}}
    [image] = run(server, graph(**load), {"1.image": Image.new("RGB", (5, 4), "red")})
    assert server.prompts[0]["1"]["inputs"]["image"] == "sub/other (1).png"
    assert (image.size, image.getpixel((0, 0))) == ((5, 4), (255, 0, 0))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (
            {"class_type": "EmptyImagee", "inputs": {}},
            "node '1': the server has no class 'EmptyImagee' (did you mean 'EmptyImage'?)",
        ),
        (
            {"class_type": "KSampler", "inputs": {"sampler_name": "euler_ancestrl"}},
            "node '1' (KSampler): 'sampler_name' cannot be 'euler_ancestrl' "
            "(did you mean 'euler_ancestral'?)",
        ),
        (
            {"class_type": "KSampler", "inputs": {"sampler_name": "xyz"}},
            "node '1' (KSampler): 'sampler_name' cannot be 'xyz'; allowed are euler, "
            "euler_ancestral, dpmpp_2m",
        ),
        (
            {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.ckpt"}},
            "node '1' (CheckpointLoaderSimple): 'ckpt_name' cannot be 'a.ckpt': "
            "the server has none",
        ),
    ],
)
def test_what_the_server_lacks_is_told_before_anything_is_queued(
    server: FakeComfyUI, node: dict[str, Any], message: str
) -> None:
    assert fail(server, graph(**node)) == message
    assert server.prompts == []


def test_a_graph_of_which_a_part_will_not_run_is_refused(server: FakeComfyUI) -> None:
    extra = {"input_name": "width", "received_value": 99999}
    error = {"message": "Value 99999 bigger than max", "details": "width", "extra_info": extra}
    server.node_errors = {"1": {"class_type": "EmptyImage", "errors": [error]}}
    assert fail(server, graph(class_type="Wait", inputs={})) == (
        "ComfyUI refused the graph: node '1' (EmptyImage): input 'width': "
        "Value 99999 bigger than max: width (got 99999)"
    )
    assert len(server.interrupted) == 1


def test_a_node_that_fails_is_named(server: FakeComfyUI) -> None:
    expected = "node '2' (SaveImage) failed in ComfyUI: Exception: outside"
    assert fail(server, graph("../x")) == expected


def test_an_empty_file_is_no_result(server: FakeComfyUI) -> None:
    server.empty = True
    assert f"Downloaded 0 bytes from {server.url}/view?filename=dw-" in fail(server, graph())


def test_half_a_file_is_no_result(server: FakeComfyUI) -> None:
    server.cut = True
    assert f"the download of {server.url}/view?filename=dw-" in fail(server, graph())


def test_a_prompt_that_a_restart_lost_is_queued_once_more(server: FakeComfyUI) -> None:
    server.forget = 1
    warnings: list[str] = []
    assert len(run(server, graph(), warn=warnings.append)) == 1
    assert warnings == ["the ComfyUI server was started again; the graph is queued once more"]
    server.forget = 2
    assert fail(server, graph()).startswith("ComfyUI lost the graph")


def test_a_cancel_interrupts_our_prompt_alone(server: FakeComfyUI) -> None:
    def check() -> None:
        if server.began.is_set():
            raise Cancelled

    waiting = graph(class_type="Wait", inputs={})
    with pytest.raises(Cancelled):
        run(server, waiting, client=client_of(server, check))
    assert len(server.interrupted) == 1
    assert server.interrupted[0] in server.prompts[0]["2"]["inputs"]["filename_prefix"]


@pytest.mark.parametrize("other", [[], ["another's"]])
def test_a_cancel_of_what_does_not_run_interrupts_nobody(
    server: FakeComfyUI, other: list[str]
) -> None:
    server.others = other
    client_of(server).cancel("ours")
    assert "POST /queue" in server.asked
    assert "POST /interrupt" not in server.asked


def test_a_server_that_never_starts_is_given_up_at_one_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    client = Client("http://127.0.0.1:9", True, False, lambda: None, ready_s=0.2)
    with pytest.raises(RunFailed, match=r"127\.0\.0\.1:9 is not ready: connection refused .*0\.2"):
        client.wait_ready()


def test_only_the_user_leads_to_an_address_of_this_network(
    server: FakeComfyUI, tmp_path: Any
) -> None:
    action = ComfyUI(server=server.url, prompt=graph())
    stranger = connected(action, FileAccess(tmp_path))
    assert "is not on the internet" in fail(server, graph(), client=stranger)
    assert server.asked == []
    by_settings = FileAccess(tmp_path, permissions=Permissions(comfyui=f"{server.url}/"))
    typed = FileAccess(tmp_path, typed=frozenset({server.url}))
    for access in (by_settings, typed):
        assert len(run(server, graph(), client=connected(action, access))) == 1
