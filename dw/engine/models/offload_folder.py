"""Offload folders: where a module's weights are while group offloading keeps them on disk.

diffusers names the files by layers alone and never writes one that exists, so that two modules in
one folder would read each other's weights, and a changed one its old ones. So each time that a
module is hooked it gets a folder of its own, which goes with the module.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import tempfile
import weakref
from pathlib import Path

import torch

PREFIX = "dw-offload"


def own_folder(parent: Path, module: torch.nn.Module) -> Path:
    """A new folder in `parent`, for the files of this module. Those that killed processes of this
    machine left behind are removed first."""
    parent.mkdir(parents=True, exist_ok=True)
    host = socket.gethostname()
    for path in parent.glob(f"{PREFIX}-{glob.escape(host)}-*"):
        pid = path.name.removeprefix(f"{PREFIX}-{host}-").partition("-")[0]
        if pid.isdecimal() and not is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}-{host}-{os.getpid()}-", dir=parent)
    weakref.finalize(module, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # that of another user
    return True
