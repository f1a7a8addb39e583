"""Commands on text, for what goes into a language model and what comes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from PIL import Image

from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed


@task()
def format_chat_message(system_prompt: str, user_message: str) -> dict[str, Any]:
    """A chat of two messages, as `text_inputs` of a text-generation pipeline."""
    return {
        "text_inputs": [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": user_message},
        ]
    }


@task()
def extract_sections(text: str, sections: Sequence[str], keep_preamble: bool = True) -> str:
    """The named sections of a text, in the order asked for. A section begins with a heading, `#
    Name`, `**Name**` or `Name:`, alone at the start of a line, and ends at the next heading."""
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
    """The answer in the tokens that a model such as Florence-2 generated for `task`,
    `<CAPTION>` or `<OD>`, by the processor of the step that `pipeline_reference` names: the text
    alone where it knows no answers. Places are in the pixels of the image, if it is given."""
    processor: Any = context.models.get("processor")
    if not hasattr(processor, "batch_decode"):
        raise RunFailed(f"a {type(processor).__name__} is no processor that reads answers")
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
    """What stands before the first heading, and each section with its heading by lower-case
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
