"""Python that a workflow names: classes, constants, signatures, annotations and remote code."""
