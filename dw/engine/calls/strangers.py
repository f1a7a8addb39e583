"""Strangers: the arguments of a call, judged when their values are known.

Results of earlier steps may be texts and objects of keywords. transformers opens texts that are
paths or addresses, wherever it takes images, videos or audio.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from dw.errors import RunFailed, TrustWorkflow
from dw.workflow.checks.options import option_errors, values_in
from dw.workflow.json_path import spell_value
from dw.workflow.media import is_url

_MEDIA = ("feature_extractor", "image_processor", "processor", "video_processor")


def require_harmless(arguments: Any, *, target: Any = None, trust: bool) -> None:
    """Raises RunFailed for arguments that lead to code or files, unless the workflow is trusted.
    `target`: what is called with them, if it is a model."""
    if trust:
        return
    for error in (*option_errors(arguments), *_media_errors(arguments, target)):
        raise RunFailed(error, hints=[TrustWorkflow()])


def _media_errors(arguments: Any, target: Any) -> Iterator[str]:
    is_of_transformers = type(target).__module__.partition(".")[0] == "transformers"
    if not (is_of_transformers and _takes_media(target)):
        return
    for value in values_in(arguments):
        if isinstance(value, str) and (is_url(value) or os.path.exists(value)):
            yield (
                f"{type(target).__name__} would open {spell_value(value)} itself; media are "
                'given as {"media_type": "image", "location": ...}'
            )


def _takes_media(target: Any) -> bool:
    """Whether it, a pipeline or processor of transformers, takes images, videos or audio."""
    names = {base.__name__ for base in type(target).__mro__}
    if names & {"ImageProcessingMixin", "FeatureExtractionMixin", "BaseVideoProcessor"}:
        return True
    return any(getattr(target, name, None) is not None for name in _MEDIA)
