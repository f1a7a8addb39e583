"""`dw comfyui`: a workflow made from a ComfyUI graph, or from a picture that ComfyUI saved.

The workflow goes to the standard output. The exit code is 3 when there is no graph to run in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dw.errors import EXIT_OK, WorkflowError
from dw.programs import exit_code, program_parser
from dw.terminal.renderer import Stream

MODEL_TAG = 0x0110  # of Exif, in which ComfyUI keeps the graph of a WebP


def main(argv: Sequence[str] | None = None) -> int:
    parser = program_parser("comfyui")
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="a graph in the API format, or a PNG or WebP"
    )
    parser.add_argument("--server", metavar="URL", help="of the step; default: the setting comfyui")
    given = parser.parse_args(argv)

    def write(out: Stream, _: Stream) -> int:
        out.line(_workflow_text(given.file, given.server))
        return EXIT_OK

    return exit_code(write)


def _workflow_text(path: Path, server: str | None) -> str:
    from dw.workflow.format.comfyui import check_graph
    from dw.workflow.from_graph import workflow_of
    from dw.workflow.graph_file import read_graph_file

    is_picture = path.suffix.lower() in (".png", ".webp")
    graph = _saved_graph(path) if is_picture else read_graph_file(path, str(path))
    if problems := list(check_graph(graph)):
        raise WorkflowError(f"{str(path)!r}: {'; '.join(each.message for each in problems)}")
    workflow = workflow_of(graph, path.stem, server=server)
    return json.dumps(workflow, indent=2, ensure_ascii=False)


def _saved_graph(path: Path) -> Any:
    from PIL.Image import DecompressionBombError

    from dw.pixels import open_image

    try:
        with open_image(path) as image:
            exif = str(image.getexif().get(MODEL_TAG, ""))
            text = image.info.get("prompt") or exif.removeprefix("prompt:")
    except (OSError, ValueError, DecompressionBombError) as error:
        raise WorkflowError(f"cannot read the picture {str(path)!r}: {error}") from error
    if not text:
        raise WorkflowError(
            f"{str(path)!r} holds no graph: ComfyUI did not save it, or its metadata was removed"
        )
    try:
        return json.loads(text)
    except ValueError as error:
        raise WorkflowError(f"the graph in {str(path)!r} is not JSON: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
