"""The engine's programs as processes without their imports: `python -m tests.console.zygote`.

Each line of its input is a call as JSON: the words of a command line, the environment, the folder,
the limits, and the files of its streams (None closes one). It imports the engine once, forks for
each call, and answers with the exit status, negative for a signal.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from contextlib import suppress
from typing import Any

import dw.engine
import dw.rehearse
import dw.validate  # noqa: F401
from dw.__main__ import main


def become(call: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(call["environment"])
    os.chdir(call["folder"])
    if call["deletes_folder"]:
        os.rmdir(call["folder"])
    streams = []
    for fd, (name, mode) in enumerate(zip(call["streams"], "rww", strict=True)):
        if name is None:
            os.close(fd)
        else:
            opened = os.open(name, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            os.dup2(opened, fd)
            os.close(opened)
        streams.append(name and open(fd, mode, closefd=False))  # noqa: SIM115
    sys.stdin, sys.stdout, sys.stderr = streams
    for name, value in call["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))


def answer(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def serve() -> None:
    # An import of the heavy modules is what takes seconds, so they come before the first call.
    answer("ready")
    while line := sys.stdin.readline():
        call = json.loads(line)
        if (pid := os.fork()) == 0:
            code = 99
            try:
                become(call)
                code = main(call["words"])
            except SystemExit as left:
                code = int(left.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                for stream in (sys.stdout, sys.stderr):
                    with suppress(AttributeError, OSError):  # it is closed, or full
                        stream.flush()
                os._exit(code)
        answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    serve()
