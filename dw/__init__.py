"""dw: a shell for Hugging Face diffusers workflows that never makes you wait for a model twice."""

__version__ = "0.1.0"
