"""The engine: runs workflows on models that it keeps.

Importing this package imports torch and diffusers (3 to 4 s). The bridge to their progress bars
must be in place before that, so it is installed first.
"""

from dw.engine.patches import progress_bars

progress_bars.install()

from dw.engine.patches import (  # noqa: E402
    adapter_keys,
    library_warnings,
    scaled_fp8,
    weight_keys,
    weight_reading,
)

library_warnings.install()
weight_reading.install()
weight_keys.install()
scaled_fp8.install()
adapter_keys.install()

from dw.engine.cancellation import Cancelled, RunControl  # noqa: E402
from dw.engine.engine import Engine  # noqa: E402
from dw.engine.execution.run import RunResult  # noqa: E402
from dw.engine.memory.cleanup import ClearReport  # noqa: E402

__all__ = [
    "Cancelled",
    "ClearReport",
    "Engine",
    "RunControl",
    "RunResult",
]
