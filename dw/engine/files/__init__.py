"""What a workflow reads and writes: access, downloads, inputs, objects, artifacts, outputs."""
