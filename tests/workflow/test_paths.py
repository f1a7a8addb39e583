from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.errors import WorkflowError
from dw.types import Permissions
from dw.workflow import check_files, load_document
from dw.workflow.json_path import is_path
from dw.workflow.media import media_kind, media_places
from dw.workflow.paths import resolve
from tests.workflow.samples import of_pipeline, of_task, workflow


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "cwd").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The workflow's folder, with an image in it and one beside it."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "cat.png").write_bytes(b"")
    (tmp_path / "outside.png").write_bytes(b"")
    return folder


def save(folder: Path, data: Any) -> Path:
    path = folder / "w.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def refusals(path: Path, **options: Any) -> list[str]:
    """The errors, without the folders in which a file was looked for."""
    with pytest.raises(WorkflowError) as caught:
        load_document(path, **options)
    return [each.message.partition(" in /")[0] for each in caught.value.problems]


PRESENT = [
    "cat.png",
    "./cat.png",
    "../flows/cat.png",
    "https://example.com/a.png",
    {"location": "cat.png", "size": 5},
    ["cat.png", {"location": "http://example.com/a.png"}],
    None,
]


@pytest.mark.parametrize("image", PRESENT)
def test_media_that_are_there_are_fine(folder: Path, image: Any) -> None:
    assert load_document(save(folder, of_task(mask_image=image))).warnings == ()


MISSING = ["dog.png", {"location": "dog.png"}, ["cat.png", "dog.png"], [{"location": "dog.png"}]]


@pytest.mark.parametrize("image", MISSING)
def test_missing_media_are_named(folder: Path, image: Any) -> None:
    assert refusals(save(folder, of_task(image=image))) == ["file 'dog.png' does not exist"]
    assert refusals(save(folder, of_pipeline(arguments={"video": image})))


def test_media_of_a_task_with_inputs_are_checked(folder: Path) -> None:
    step = {"name": "t", "task": {"command": "x", "inputs": [{"image": "dog.png"}]}}
    assert refusals(save(folder, workflow(step))) == ["file 'dog.png' does not exist"]


def test_it_is_said_where_a_relative_name_was_looked_for(folder: Path) -> None:
    with pytest.raises(WorkflowError) as caught:
        load_document(save(folder, of_task(image=["dog.png", "/no/dog.png", "~/dog.png"])))
    assert [each.message for each in caught.value.problems] == [
        f"file 'dog.png' does not exist in {folder} or in {Path.cwd()}",
        "file '/no/dog.png' does not exist",
        "file '~/dog.png' does not exist",
    ]


HUB = "https://huggingface.co/owner/name"
ELSEWHERE = "models are loaded from huggingface.co, not from 'civitai.com'; download the file and "
ELSEWHERE += "name its path"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (HUB, 'a model is named by its hub id: write "model_name": "owner/name"'),
        (f"{HUB}/tree/main", 'a model is named by its hub id: write "model_name": "owner/name"'),
        (
            f"{HUB}/tree/v2/unet",
            'a model is named by its hub id: write "model_name": "owner/name", "revision": "v2", '
            '"subfolder": "unet"',
        ),
        (
            f"{HUB}/resolve/main/a.safetensors",
            "the address is that of one file: write "
            f'"from_single_file": "{HUB}/resolve/main/a.safetensors" in its place',
        ),
        ("https://civitai.com/models/133005", ELSEWHERE),
        (
            "models/a.safetensors",
            "'models/a.safetensors' is one file: write "
            '"from_single_file": "models/a.safetensors" in its place',
        ),
    ],
)
def test_what_names_no_folder_of_a_pipeline_is_told(folder: Path, name: str, message: str) -> None:
    (folder / "models").mkdir()
    (folder / "models" / "a.safetensors").touch()
    path = save(folder, of_pipeline(from_pretrained_arguments={"model_name": name}))
    assert refusals(path) == [message]


def test_a_lora_is_a_file_or_an_address_of_the_hub(folder: Path) -> None:
    (folder / "a.safetensors").touch()
    fine = [{"model_name": "a.safetensors"}, {"model_name": f"{HUB}/blob/main/a.safetensors"}]
    load_document(save(folder, of_pipeline(loras=fine)))
    wrong = [{"model_name": "https://civitai.com/api/download/models/1"}]
    assert refusals(save(folder, of_pipeline(loras=wrong))) == [ELSEWHERE]


def test_a_folder_is_not_an_image(folder: Path) -> None:
    assert refusals(save(folder, of_task(image="."))) == ["file '.' does not exist"]


@pytest.mark.parametrize("name", ["\0", "x" * 5000, "~nobody-of-that-name/x.png"])
def test_a_name_that_cannot_be_a_file_is_a_missing_one(folder: Path, name: str) -> None:
    assert len(refusals(save(folder, of_task(image=name)))) == 1


def test_a_file_outside_needs_trust(folder: Path, tmp_path: Path) -> None:
    for name in ("../outside.png", str(tmp_path / "outside.png")):
        path = save(folder, of_task(image=name))
        assert "is outside of the workflow's folder" in refusals(path)[0]
        assert load_document(path, permissions=Permissions(trust=True))


def test_a_link_does_not_lead_outside(folder: Path, tmp_path: Path) -> None:
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    assert "is outside" in refusals(save(folder, of_task(image="link.png")))[0]


def test_what_a_user_names_may_lie_anywhere(folder: Path, tmp_path: Path) -> None:
    data = {**of_task(image="variable:image"), "variables": {"image": "cat.png"}}
    document = load_document(save(folder, data))
    assert check_files(document, {"image": str(tmp_path / "outside.png")}) == ()


def test_a_missing_default_is_a_warning_until_the_arguments_are_known(folder: Path) -> None:
    data = {**of_task(image="variable:image"), "variables": {"image": "dog.png"}}
    document = load_document(save(folder, data))
    (warning,) = document.warnings
    assert (warning.severity, warning.message) == (
        "warning",
        f"file 'dog.png' does not exist in {folder} or in {Path.cwd()} (argument 'image')",
    )
    assert [each.severity for each in check_files(document, {})] == ["error"]
    assert check_files(document, {"image": "cat.png"}) == ()


def test_results_are_no_files(folder: Path) -> None:
    data = of_task(image="cat.png")
    data["steps"].append(
        {"name": "u", "task": {"command": "x", "arguments": {"image": "previous_result:t"}}}
    )
    assert load_document(save(folder, data))


# ------------------------------------------------------------------ models


@pytest.mark.parametrize(
    "name", ["./nope", "../nope", "/nope", "~/nope", "C:\\nope", "C:/nope", "a\\b"]
)
@pytest.mark.parametrize("key", ["model_name", "from_single_file"])
def test_a_missing_model_folder_is_named(folder: Path, key: str, name: str) -> None:
    path = save(folder, of_pipeline(from_pretrained_arguments={key: name}))
    assert refusals(path) == [f"model file or folder {name!r} does not exist"]


def test_a_rehearsal_needs_no_models(folder: Path) -> None:
    path = save(folder, of_pipeline(from_pretrained_arguments={"model_name": "./nope"}))
    assert load_document(path, rehearse=True).warnings == ()


@pytest.mark.parametrize("name", ["black-forest-labs/FLUX.1-dev", "gpt2", "models/sd15"])
def test_a_hub_id_is_not_looked_for_on_disk(folder: Path, name: str) -> None:
    assert load_document(save(folder, of_pipeline(from_pretrained_arguments={"model_name": name})))


def of_model(name: str, **more: Any) -> dict[str, Any]:
    return {**of_pipeline(from_pretrained_arguments={"model_name": name}), **more}


@pytest.mark.parametrize("base", ["flows", "cwd"])
def test_a_model_folder_is_found(folder: Path, tmp_path: Path, base: str) -> None:
    (tmp_path / base / "sd15").mkdir()
    assert load_document(save(folder, of_model("./sd15")))


def test_a_model_outside_needs_trust_or_an_allowed_folder(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sd15").mkdir()
    (folder / "link").symlink_to(home / "sd15")
    for name in ("~/sd15", "../home/sd15", str(home / "sd15"), "./link"):
        path = save(folder, of_model(name))
        assert "is outside of the workflow's folder" in refusals(path)[0]
        assert load_document(path, permissions=Permissions(trust=True))
        assert load_document(path, permissions=Permissions(allowed_dirs=(home,)))
        assert load_document(path, rehearse=True)


def test_a_model_that_the_user_names_may_lie_anywhere(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "sd15").mkdir()
    document = load_document(save(folder, of_model("variable:m", variables={"m": "a/b"})))
    assert check_files(document, {"m": "~/sd15"}) == ()


def test_a_missing_lora_and_component_are_named(folder: Path) -> None:
    vae = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": "./vae"},
    }
    data = of_pipeline(loras=[{"model_name": "./lora.safetensors"}], vae=vae)
    assert refusals(save(folder, data)) == [
        "model file or folder './lora.safetensors' does not exist",
        "model file or folder './vae' does not exist",
    ]


@pytest.mark.parametrize("key", ["model_name", "sam_model_name"])
def test_a_missing_model_of_a_task_is_named(folder: Path, key: str) -> None:
    assert refusals(save(folder, of_task(**{key: "./sam2"}))) == [
        "model file or folder './sam2' does not exist"
    ]


# ------------------------------------------------------------------ the parts


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        *[("image", "image"), ("mask_image", "image"), ("video", "video"), ("a_video", "video")],
        *[("images", None), ("imagery", None)],
    ],
)
def test_media_go_by_the_name_of_their_key(key: str, kind: str | None) -> None:
    assert media_kind(key) == kind


def test_only_arguments_name_media() -> None:
    arguments = {
        "image": ["a.png", {"location": "b.png"}],
        "scene": {"location": "Paris"},
        "still": {"media_type": "image", "location": "c.png"},
        "reference": {"reference_type": "a.B", "from_file": "d.wav"},
    }
    data = workflow({"name": "t", "task": {"command": "x", "arguments": arguments}}, image="e.png")
    data["steps"][0]["image"] = "f.png"
    assert [place for _, place in media_places(data)] == ["a.png", "b.png", "c.png", "d.wav"]


def test_the_workflows_folder_comes_before_the_current_one(folder: Path) -> None:
    assert resolve("cat.png", folder) == folder / "cat.png"
    Path("dog.png").write_bytes(b"")
    assert resolve("dog.png", folder) == Path("dog.png")
    assert resolve("nobody.png", folder) == folder / "nobody.png"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b", False), ("a.b", False), ("./a", True), ("~/a", True), ("D:/a", True), ("a\\b", True)],
)
def test_a_path_is_told_from_a_hub_id(name: str, expected: bool) -> None:
    assert is_path(name) is expected


def of_loader(where: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A workflow with these arguments of the pipeline's loader, or of a component's."""
    if where == "pipeline":
        return of_pipeline(from_pretrained_arguments=arguments)
    part = {"configuration": {"component_type": "AutoencoderKL"}}
    return of_pipeline(vae={**part, "from_pretrained_arguments": arguments})


@pytest.mark.parametrize("where", ["pipeline", "component"])
@pytest.mark.parametrize("source", ["model_name", "from_single_file"])
@pytest.mark.parametrize("name", ["cat.png", "../flows", "builtin:shapes"])
def test_a_revision_of_what_is_on_this_machine_is_an_error(
    folder: Path, where: str, source: str, name: str
) -> None:
    path = save(folder, of_loader(where, {source: name, "revision": "v2"}))
    assert refusals(path) == [
        f"'revision' would have no effect here: {name!r} is on this machine; "
        "name the hub id, OWNER/NAME, or the folder of that revision"
    ]
    for without in ({}, {"revision": None}):
        assert load_document(save(folder, of_loader(where, {source: name, **without})))


@pytest.mark.parametrize("option", ["cache_dir", "token"])
def test_other_options_of_the_hub_beside_it_are_warnings(folder: Path, option: str) -> None:
    given = {"model_name": "../flows", option: "x", "local_files_only": True}
    (warning,) = load_document(save(folder, of_loader("pipeline", given))).warnings
    assert warning.message == (
        f"{option!r} would have no effect here: '../flows' is on this machine; leave it out"
    )


def test_a_model_of_the_hub_has_revisions(folder: Path) -> None:
    given = {"model_name": "owner/name", "revision": "v2", "token": "x", "cache_dir": "."}
    assert load_document(save(folder, of_loader("pipeline", given))).warnings == ()


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("revision", "https://huggingface.co/OWNER/NAME/resolve/REVISION/FILE"),
        ("token", "HF_TOKEN"),
        ("cache_dir", "HF_HOME"),
        ("local_files_only", "HF_HUB_OFFLINE"),
        ("weight", "'scale' is its name"),
    ],
)
@pytest.mark.parametrize("section", ["loras", "ip_adapter"])
def test_keys_that_adapters_do_not_have_are_answered(
    folder: Path, section: str, key: str, way: str
) -> None:
    adapter = {"model_name": "owner/name", "weight_name": "a.safetensors", key: "x"}
    value = [adapter] if section == "loras" else adapter
    arguments = {"ip_adapter_image": "cat.png"}
    (message,) = refusals(save(folder, of_pipeline(arguments=arguments, **{section: value})))
    assert message.startswith(f"unknown key {key!r}: ")
    assert way in message


NODES = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}


def of_graph(folder: Path, text: str | bytes | None, **options: Any) -> Path:
    if text is not None:
        (folder / "g.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    action = {"server": "http://127.0.0.1:8188", "prompt": "g.json", **options}
    step = {"name": "draw", "comfyui": action, "result": {"content_type": "image/png"}}
    return save(folder, workflow(step))


def test_a_graph_in_a_file_is_fine(folder: Path) -> None:
    path = of_graph(folder, json.dumps(NODES), inputs={"1.width": 9}, outputs=["2"])
    assert load_document(path).warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "file 'g.json' does not exist"),
        ('{"1": }', "cannot read the graph 'g.json': line 1, column 7: "),
        (b"\x89PNG\xff", "cannot read the graph 'g.json': "),
        ("[]", "'g.json': the graph must be an object of nodes by their ids"),
        ('{"nodes": [], "links": []}', "'g.json': the graph is in the format of ComfyUI's editor"),
        ('{"7": {"inputs": {}}}', "'g.json': node '7' needs 'class_type'"),
    ],
)
def test_a_file_that_is_no_graph_is_told_before_a_run(
    folder: Path, text: str | bytes | None, message: str
) -> None:
    [refusal] = refusals(of_graph(folder, text))
    assert refusal.startswith(message)


def test_inputs_and_outputs_are_compared_with_the_graph_in_the_file(folder: Path) -> None:
    inputs = {"1.widht": 9, "3.width": 9}
    path = of_graph(folder, json.dumps(NODES), inputs=inputs, outputs=["4"])
    assert refusals(path) == [
        "node '1' (EmptyImage) has no input 'widht' (did you mean 'width'?)",
        "there is no node '3'; there are 1, 2",
        "there is no node '4'; there are 1, 2",
    ]


def test_a_graph_that_an_argument_may_replace_is_a_warning(folder: Path) -> None:
    of_graph(folder, "[]")
    step = {"name": "draw", "comfyui": {"prompt": "variable:graph"}}
    document = load_document(save(folder, workflow(step, variables={"graph": "g.json"})))
    [warning] = document.warnings
    assert warning.message.startswith("'g.json': the graph must be")
    [error] = check_files(document, {"graph": "g.json"})
    assert error.severity == "error"


def test_a_graph_out_of_reach_is_not_read(folder: Path) -> None:
    (folder.parent / "g.json").write_text("secret")
    [refusal] = refusals(of_graph(folder, None, prompt="../g.json"))
    assert "is outside of the workflow's folder" in refusal
