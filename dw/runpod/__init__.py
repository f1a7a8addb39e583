"""`dw runpod`: the handler of a RunPod serverless endpoint, on the platform's own SDK."""
