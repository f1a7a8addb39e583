def serve(commands, events):
    raise ImportError("libcudart.so.13: cannot open shared object file")
