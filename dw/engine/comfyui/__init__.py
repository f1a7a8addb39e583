"""ComfyUI: steps that a ComfyUI server does."""

from dw.engine.comfyui.graph import read_graph
from dw.engine.comfyui.prompt_run import connected, run_graph, stand_in

__all__ = ["connected", "read_graph", "run_graph", "stand_in"]
