"""The HTTP server: faces that translate between HTTP and the job queue, and decide nothing."""
