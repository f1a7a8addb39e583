"""The attack fuzzer: hostile workflows, validated, checked and run in this process, under a watch.

    python -m tests.security.fuzz --count 300 --seed 1

prints each workflow on which something happened that an untrusted workflow must not do, or that
ended in an exception which is no message. `--prove` breaks guards and tells which it does not miss.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from tests.security.watch import MARK, Finding, Watch, private_temporary_folder

RUN_EVERY = 12
"""One in so many of the workflows that have nothing wrong and draw is run: it takes a second."""

EVIL = f"# {MARK}\nopen('marked', 'w').close()\nclass Evil: pass\nVALUE = 1\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first workflow")
    parser.add_argument("--prove", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dw-fuzz-") as folder:
        fuzzer = prepared(Path(folder).resolve(), given.seed)
        if given.prove:
            return _prove(fuzzer, given.count)
        return _fuzz(fuzzer, given.first, given.count)


def prepared(root: Path, seed: int) -> Fuzzer:
    """A fuzzer in a folder of its own, in which this process is from now on."""
    home = root / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "HF_HOME"):
        os.environ[name] = str(home)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(home / "modules")}
    # `compile` may start the system's compiler on what torch generates. It is not what is attacked:
    # whatever a workflow could tell it is judged before.
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(root / "flows"))  # as for `python -m dw` in the folder of a workflow
    private_temporary_folder(root / "tmp")
    return Fuzzer(root, seed)


def _fuzz(fuzzer: Fuzzer, first: int, count: int) -> int:
    began, found = time.monotonic(), 0
    for number in range(first, first + count):
        if findings := fuzzer.attack(number):
            found += 1
            _say(f"--- workflow {number} of seed {fuzzer.seed}")
            _say(json.dumps(fuzzer.grammar.workflow(number), indent=1), *map(str, findings))
    seconds = time.monotonic() - began
    ends = ", ".join(f"{n} {what}" for what, n in sorted(fuzzer.ends.items()))
    _say(f"{count} workflows in {seconds:.0f} s ({ends}): {found} with findings")
    return 1 if found else 0


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join((*lines, "")))
    sys.stdout.flush()


class Fuzzer:
    def __init__(self, root: Path, seed: int) -> None:
        # Whatever dw and the libraries import for any workflow is imported before the watch.
        from dw.engine import Engine
        from dw.types import Permissions
        from tests.security.grammar import MODULES, Grammar, World

        self.seed = seed
        self.ends: Counter[str] = Counter()
        self._world, self._out = World(root), root / "out"
        _furnish(self._world)
        self._out.mkdir()
        self.grammar = Grammar(self._world, seed)
        self._engine = Engine()
        self._permissions = Permissions(allowed_dirs=(self._out,))
        os.chdir(self._world.flows)
        self._warm_up()
        self._watch = Watch(
            readable=(self._world.flows,),
            writable=(self._out, root / "tmp", root / "home", self._world.flows / "hub"),
            modules=[name for name in MODULES if name not in sys.modules],
        )

    def attack(self, number: int) -> list[Finding]:
        """What happened with the workflow of this number that must not."""
        workflow = self.grammar.workflow(number)
        path = self._world.flows / "workflow.json"
        path.write_text(json.dumps(workflow))
        self._watch.findings.clear()
        with self._watch.armed(), _no_network():
            try:
                self.ends[self._take(path, workflow, number)] += 1
            except Exception as error:
                frames = "".join(traceback.format_exception(error)[-8:])
                self._watch.findings.append(Finding("it ended in an exception", frames))
        if (self._world.flows / "marked").exists():
            (self._world.flows / "marked").unlink()
            self._watch.findings.append(Finding("planted code was run", ""))
        return list(self._watch.findings)

    def _take(self, path: Path, workflow: Any, number: int) -> str:
        """As far as it goes: validation, the check against classes, a run or a rehearsal."""
        from dw.errors import DwError
        from dw.workflow import validate_file
        from tests.security.grammar import EVIL_MODELS

        try:
            result = validate_file(path, permissions=self._permissions, rehearse=number % 2 == 0)
        except DwError:
            return "unreadable"
        if result.document is None or any(p.severity == "error" for p in result.problems):
            if result.document is not None and number % 4 == 0:
                self._engine.check(result.document)
            return "refused"
        if any(p.severity == "error" for p in self._engine.check(result.document)):
            return "refused by its classes"
        text = json.dumps(workflow["steps"])
        fast = ("pre_load_modules", *(f"./{name}" for name in EVIL_MODELS))
        is_slow = '"pipeline"' in text and not any(each in text for each in fast)
        if is_slow and number % RUN_EVERY:
            return "accepted"
        return self._run(result.document, rehearse=number % 3 > 0)

    def _run(self, document: Any, *, rehearse: bool) -> str:
        from dw.engine import Cancelled, RunControl
        from dw.errors import DwError
        from dw.events import Run

        request = Run(0, str(document.path), document.text, {}, str(self._out), device="cpu")
        request = Run(**{**vars_of(request), "rehearse": rehearse})
        end = "ran"
        try:
            self._engine.run(document, request, control=RunControl(), emit=lambda _: None)
        except (DwError, Cancelled):
            end = "failed in a run"
        if end != "ran":
            self._engine.recover()
        shutil.rmtree(self._out / document.id, ignore_errors=True)
        return end

    def _warm_up(self) -> None:
        """Run one workflow of each template unchanged: imports and stand-ins are made before."""
        from dw.errors import DwError
        from dw.workflow import validate_file
        from tests.security import grammar

        path = self._world.flows / "workflow.json"
        for template in grammar.TEMPLATES:
            path.write_text(json.dumps(template()))
            try:
                document = validate_file(path, rehearse=True).document_or_raise()
                self._engine.check(document)
                for rehearse in (True, False):
                    self._run(document, rehearse=rehearse)
            except DwError:
                continue


def vars_of(message: Any) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(message, field.name) for field in fields(message)}


def _furnish(world: Any) -> None:
    """The files beside the workflow, with code, links and pipes, and the secret ones."""
    import av
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    from dw.workflow.builtin import require_model

    def film(path: Path) -> None:
        with av.open(path, "w") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 32
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            container.mux(stream.encode(frame))
            container.mux(stream.encode())

    flows, secret = world.flows, world.secret
    for folder in (flows, secret):
        folder.mkdir()
        Image.new("RGB", (16, 16)).save(folder / "cat.png")
        film(folder / "film.mp4")
        (folder / "text.txt").write_text("a secret")
        child = {"id": "child", "variables": {"x": 0}, "steps": [{"name": "a", "task": {}}]}
        child["steps"] = [{"name": "a", "task": {"command": "gather_inputs", "inputs": [1]}}]
        (folder / "workflow.json").write_text(json.dumps(child))
        (folder / "child.json").write_text(json.dumps(child))
        shutil.copytree(require_model("builtin:shapes"), folder / "model")
        torch.save({"x": torch.zeros(1)}, folder / "weights.bin")
    save_file({"x": torch.zeros(1)}, flows / "lora.safetensors")
    Image.new("L", (16, 16)).save(flows / "other.png", "PCX")
    (flows / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{secret}/film.mp4'\n")
    (flows / "link.png").symlink_to(secret / "cat.png")
    (flows / "linked").symlink_to(secret)
    os.mkfifo(flows / "pipe.png")
    for name in ("evil", "pipeline", "modeling_evil"):
        (flows / f"{name}.py").write_text(EVIL)
    _evil_models(flows, secret)


def _evil_models(flows: Path, secret: Path) -> None:
    """Copies of the model with something in them that a loader might follow."""

    def model(name: str) -> Path:
        shutil.copytree(flows / "model", flows / name)
        for code in ("pipeline", "modeling_evil"):
            (flows / name / f"{code}.py").write_text(EVIL)
        return flows / name

    def edit(path: Path, **changes: Any) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    own = model("own_code")
    edit(own / "model_index.json", _class_name=["pipeline", "Evil"])
    component = model("own_component")
    edit(component / "model_index.json", unet=["modeling_evil", "Evil"])
    (component / "unet" / "modeling_evil.py").write_text(EVIL)
    edit(model("other_class") / "model_index.json", unet=["os", "system"], vae=["evil", "Evil"])
    mapped = model("mapped") / "text_encoder"
    edit(mapped / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"}, model_type="evil")
    (mapped / "modeling_evil.py").write_text(EVIL)
    edit(model("kernels") / "text_encoder" / "config.json", _attn_implementation="org/name")
    adapter = model("adapter") / "text_encoder" / "adapter_config.json"
    adapter.write_text(json.dumps({"base_model_name_or_path": str(secret / "model")}))
    linked = model("links") / "unet" / "diffusion_pytorch_model.safetensors"
    linked.unlink()
    linked.symlink_to(secret / "model" / "unet" / linked.name)
    shards = model("shards") / "unet"
    (shards / "diffusion_pytorch_model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"x": f"../../../{secret.name}/weights.bin"}}
    (shards / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


@contextmanager
def _no_network() -> Iterator[None]:
    """Names have an address of this network, found without a resolver: judging an address that is
    written out needs one, and is no finding."""
    import socket

    from dw.engine.files import download

    class Sockets:
        SOCK_STREAM = socket.SOCK_STREAM

        @staticmethod
        def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            try:
                packed = socket.inet_aton(host)
                address = socket.inet_ntoa(packed)
            except OSError:
                address = host if ":" in host else "127.0.0.1"
            return [(0, 0, 0, "", (address, port))]

    with mock.patch.object(download, "socket", Sockets):
        yield


# ------------------------------------------------------------------ proof


def guards() -> dict[str, AbstractContextManager[Any]]:
    """What holds the fuzzed off, each with the patches that take it away."""
    from dw.engine.files import access, download, inputs
    from dw.engine.models.model_files import ModelFiles
    from dw.engine.python import kinds, remote_code, resolve
    from dw.workflow import loading, paths
    from dw.workflow.checks import classes, options

    def nothing(*_: Any, **__: Any) -> None:
        return None

    def yes(*_: Any, **__: Any) -> bool:
        return True

    kind = ("is_object", "is_known", "is_component")
    return {
        "the kinds of classes": _patched(
            *((kinds, name, yes) for name in kind),
            *((module, "class_error", nothing) for module in (resolve, classes)),
        ),
        "the known modules": _patched(
            *((module, "module_error", nothing) for module in (resolve, classes))
        ),
        "the folders": _patched(*((m, "may_read", yes) for m in (access, loading, paths))),
        "the addresses": _patched((download, "_is_public", yes)),
        "the formats of images": _patched((inputs, "open_image", _opened_by_a_program)),
        "the trust in a model's code": _patched(
            (options, "option_error", nothing), (remote_code, "require_trust", nothing)
        ),
        "the files of a model": _patched(
            (ModelFiles, "require_harmless", nothing), (access.FileAccess, "require", nothing)
        ),
    }


@contextmanager
def _patched(*patches: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, value in patches:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def _opened_by_a_program(file: Any, *_: Any) -> Any:
    import subprocess

    subprocess.run(["true"], check=False)
    raise OSError("no image")


def _prove(fuzzer: Fuzzer, count: int) -> int:
    missed = 0
    for name, broken in guards().items():
        with broken:
            number = next((n for n in range(count) if fuzzer.attack(n)), None)
        _say(f"without {name}: {'nothing' if number is None else f'workflow {number}'} is found")
        missed += number is None
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
