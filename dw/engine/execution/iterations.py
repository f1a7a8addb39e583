"""Iterations of a step: one for each combination of the results that its arguments name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dw.errors import RunFailed
from dw.workflow.format.model import MOST_ITERATIONS
from dw.workflow.json_path import JsonPath
from dw.workflow.references import result_references


def iterations(arguments: Any, values: Callable[[str], list[Any]]) -> Iterator[Any]:
    """`arguments` with each reference replaced by one of its `values`, for every combination of
    them.

    The last reference varies fastest. Two references to one step multiply as well. Only what lies
    on the way to a reference is copied. Raises RunFailed for more than MOST_ITERATIONS.
    """
    found = list(result_references(arguments))
    choices = [values(text) for _, text in found]
    count = math.prod(map(len, choices))
    if count > MOST_ITERATIONS:
        raise RunFailed(
            f"the previous results give {count} combinations; at most {MOST_ITERATIONS} are run"
        )
    for combination in itertools.product(*choices):
        iteration = arguments
        for (path, _), value in zip(found, combination, strict=True):
            iteration = _replaced(iteration, path, value)
        yield iteration


def _replaced(data: Any, path: JsonPath, value: Any) -> Any:
    if not path:
        return value
    # A mapping with a member of the argument's own name stands for that member:
    # `{"mask": "previous_result:border"}` takes the mask out of `{bordered_image, mask}`.
    if len(path) == 1 and isinstance(value, Mapping) and path[0] in value:
        value = value[path[0]]
    copy = dict(data) if isinstance(data, Mapping) else list(data)
    copy[path[0]] = _replaced(data[path[0]], path[1:], value)  # type: ignore[index]
    return copy
