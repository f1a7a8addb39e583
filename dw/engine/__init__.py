"""The engine: runs workflows on models that it keeps.

Importing this package imports torch and diffusers (3 to 4 s). The bridge to their progress bars
and what keeps their imports quiet must be in place before that, so they are installed first.
"""

from dw.engine.patches import library_warnings, progress_bars

progress_bars.install()
library_warnings.install_for_imports()

from dw.engine.patches import (  # noqa: E402
    adapter_hooks,
    adapter_keys,
    scaled_fp8,
    weight_keys,
    weight_reading,
)

library_warnings.install()
weight_reading.install()
weight_keys.install()
scaled_fp8.install()
adapter_keys.install()
adapter_hooks.install()

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
