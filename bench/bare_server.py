"""What a user's own server does: one endpoint that calls the pipeline. `python -m bench.bare_server
PORT`"""

import base64
import sys
import threading

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bench.quick_worker import draw

app = FastAPI()
one_at_a_time = threading.Lock()


class Body(BaseModel):
    prompt: str
    seed: int | None = None


@app.post("/generate")
def generate(body: Body) -> dict[str, str]:
    with one_at_a_time:  # a pipeline is not made for several threads
        image = draw(body.prompt)
    return {"image": base64.b64encode(image).decode()}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False)
