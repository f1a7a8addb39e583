"""The engine: runs workflows on models that it keeps.

Importing this package imports torch and diffusers (3 to 4 s). The bridge to their progress bars
must be in place before that, so it is installed first.
"""

from dw.engine import progress

progress.install()

from dw.engine import remarks  # noqa: E402  # after the bridge
from dw.engine.models import reading  # noqa: E402

remarks.install()
reading.install()

from dw.engine.control import Cancelled, RunControl  # noqa: E402
from dw.engine.engine import Engine, RunResult  # noqa: E402
from dw.engine.memory import ClearReport  # noqa: E402
from dw.engine.observer import Observer  # noqa: E402

__all__ = [
    "Cancelled",
    "ClearReport",
    "Engine",
    "Observer",
    "RunControl",
    "RunResult",
]
