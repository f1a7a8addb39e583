"""Programs at a terminal: what the shell and `dw run` share on top of jobs and terminal."""
