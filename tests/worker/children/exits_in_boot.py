import os


def serve(commands, events):
    os._exit(3)
