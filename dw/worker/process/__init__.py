"""The operating system calls of the parent: processes, pipes, output, exit causes."""
