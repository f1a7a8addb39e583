"""How dw compares with the bare `diffusers` call on the same work, in one run on one machine."""
