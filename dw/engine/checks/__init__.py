"""A workflow against the installed classes, before anything loads."""
