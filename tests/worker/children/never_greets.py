import time


def serve(commands, events):
    time.sleep(60)
