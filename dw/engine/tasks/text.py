"""Text tasks: chat messages for language models, and parts of their answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed


@task()
def format_chat_message(system_prompt: str, user_message: str) -> dict[str, Any]:
    """A chat of two messages, the `text_inputs` of a text-generation pipeline."""
    return {
        "text_inputs": [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": user_message},
        ]
    }


@task()
def extract_sections(text: str, sections: Sequence[str], keep_preamble: bool = True) -> str:
    """The named sections of a text, in the given order. A section begins with a heading (`# Name`,
    `**Name**` or `Name:`) alone on a line and ends before the next heading."""
    preamble, found = _split(text)
    wanted = [found[name.lower()] for name in sections if name.lower() in found]
    if keep_preamble and preamble.strip():
        wanted.insert(0, preamble)
    return "\n\n".join(part.strip() for part in wanted)


@task(borrows="processor")
def batch_decode_post_process(
    task: str,
    generated_ids: Any,
    image: Image.Image | None = None,
    *,
    context: TaskContext,
) -> Any:
    """The answer in the tokens that a model such as Florence-2 generated for `task` (`<CAPTION>`,
    `<OD>`), parsed by the processor of the step that `pipeline_reference` names. A processor that
    does not parse answers gives the text alone. Boxes are in pixels of the image, if given."""
    processor: Any = context.models.get("processor")
    if not hasattr(processor, "batch_decode"):
        raise RunFailed(f"a {type(processor).__name__} cannot decode answers")
    if not hasattr(processor, "post_process_generation"):
        return {task: processor.batch_decode(generated_ids, skip_special_tokens=True)[0]}
    [text] = processor.batch_decode(generated_ids, skip_special_tokens=False)
    size = {} if image is None else {"image_size": image.size}
    return processor.post_process_generation(text, task=task, **size)


_HEADING = re.compile(
    r"""^[ \t]* (?: \#{1,6} [ \t]+ ([^\n\#]+?) [ \t]* \#*   # "## Name"
              | \*\* ([^*\n]+?) \*\* :?                 # "**Name**"
              | ([A-Z][\w\ ]{0,60}) :                    # "Name:"
              ) [ \t]* (?=\n|$)""",
    re.MULTILINE | re.VERBOSE,
)


def _split(text: str) -> tuple[str, dict[str, str]]:
    """The text before the first heading, and the sections with their headings by lower-case
    name."""
    headings = list(_HEADING.finditer(text))
    if not headings:
        return text, {}
    ends = [*(h.start() for h in headings[1:]), len(text)]
    sections = {}
    for heading, end in zip(headings, ends, strict=True):
        name = next(filter(None, heading.groups())).strip().rstrip(":").lower()
        sections[name] = text[heading.start() : end]
    return text[: headings[0].start()], sections
