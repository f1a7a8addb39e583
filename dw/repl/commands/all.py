"""All commands: importing this registers them in the order of `help`."""

from dw.repl.commands import (  # noqa: I001, F401 - the order is the order of `help`
    workflow,
    argument,
    run,
    rerun,
    watch,
    background,
    history,
    pictures,
    memory,
    worker,
    editing,
    setting,
    scripting,
    shell,
)
