"""ComfyUI runner: calls a ComfyUI server in the place of a pipeline."""

from __future__ import annotations

from dw.engine.calls.chain import Runner
from dw.engine.comfyui import connected, read_graph, run_graph, stand_in
from dw.engine.execution.run import RunState
from dw.engine.files.access import FileAccess
from dw.workflow.format.comfyui import ComfyUI


def comfyui_runner(run: RunState, action: ComfyUI, access: FileAccess, *, rehearse: bool) -> Runner:
    """Raises RunFailed for a graph or a server that cannot be."""
    if rehearse:
        run.warn(f"step {run.step!r}: a grey picture stands in for what ComfyUI would make")
        return lambda _inputs: [stand_in()]
    graph, client = read_graph(action, access), connected(action, access)

    def progress(done: int, total: int) -> None:
        run.report("comfyui", done, total)

    return lambda inputs: run_graph(
        client, graph, inputs, outputs=action.outputs, progress=progress, warn=run.warn
    )
