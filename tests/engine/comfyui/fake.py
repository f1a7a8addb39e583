"""A ComfyUI of a few lines, which answers as the real one (0.3.64, 0.3.75) was seen to."""

from __future__ import annotations

import asyncio
import io
import threading
from typing import Any

from aiohttp import WSMsgType, web
from PIL import Image

NODES: dict[str, dict[str, Any]] = {
    "EmptyImage": {"width": ["INT", {}], "height": ["INT", {}], "color": ["INT", {}]},
    "LoadImage": {"image": [["here.png"], {}]},
    "SaveImage": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]},
    "KSampler": {"sampler_name": [["euler", "euler_ancestral", "dpmpp_2m"], {}]},
    "CheckpointLoaderSimple": {"ckpt_name": [[], {}]},
    "Wait": {},
}


class FakeComfyUI:
    """Runs in a thread of its own. `spoil` changes the bytes of a file; `release` lets `Wait` end;
    `forget` makes the server lose its next prompts, as a restart does; `hang_up` is for how many
    sockets it closes at the first node; `others` are prompts of somebody else that run."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.prompts: list[dict[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.history: dict[str, Any] = {}
        self.running: str | None = None
        self.interrupted: list[str] = []
        self.began = threading.Event()
        self.forget = 0
        self.hang_up = 0
        self.others: list[str] = []
        self.clients: list[str] = []
        self.reconnects = True  # whether a node waits for the socket that follows a closed one
        self.cut = False
        self.empty = False
        self.node_errors: dict[str, Any] = {}
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self._is_up.wait(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(middlewares=[self._note])
        app.add_routes(
            [
                web.get("/system_stats", self._stats),
                web.get("/object_info", self._info),
                web.get("/object_info/{name}", self._info),
                web.post("/prompt", self._prompt),
                web.get("/history/{id}", self._history),
                web.get("/queue", self._queue),
                web.post("/queue", self._done),
                web.post("/interrupt", self._interrupt),
                web.post("/upload/image", self._upload),
                web.get("/view", self._view),
                web.get("/ws", self._ws),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._is_up.set()
        self._loop.run_forever()
        for task in self.tasks:
            task.cancel()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> Any:
        self.asked.append(f"{request.method} {request.path}")
        return await handler(request)

    async def _stats(self, request: web.Request) -> web.Response:
        return web.json_response({"devices": [{"name": "cpu"}]})

    async def _info(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        known = {n: {"input": {"required": i}} for n, i in NODES.items() if name in (n, None)}
        return web.json_response(known)

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.prompts.append(body["prompt"])
        answer = {"prompt_id": body["prompt_id"], "number": 1, "node_errors": self.node_errors}
        if self.forget:
            self.forget -= 1
        else:
            self.running = body["prompt_id"]
            task = asyncio.create_task(self._run(body))
            self.tasks.add(task)
        return web.json_response(answer)

    async def _run(self, body: dict[str, Any]) -> None:
        graph, key = body["prompt"], body["prompt_id"]
        outputs: dict[str, Any] = {}
        messages: list[Any] = []
        for node, what in graph.items():
            await self._tell(body["client_id"], node, key)
            self.began.set()
            if self.hang_up and (socket := self.sockets.pop(body["client_id"], None)) is not None:
                self.hang_up -= 1
                await socket.close()
                while self.reconnects and body["client_id"] not in self.sockets:
                    await asyncio.sleep(0.01)
            while what["class_type"] == "Wait" and key not in self.interrupted:
                await asyncio.sleep(0.01)
            if key in self.interrupted:
                messages.append(["execution_interrupted", {"node_id": node}])
                break
            if what["class_type"] == "SaveImage":
                if what["inputs"]["filename_prefix"].startswith(".."):
                    error = {"node_id": node, "node_type": "SaveImage"}
                    error |= {"exception_type": "Exception", "exception_message": "outside\n"}
                    messages.append(["execution_error", error])
                    break
                outputs[node] = {"images": [self._save(graph, what["inputs"])]}
        is_done = not messages
        status = {"status_str": "success" if is_done else "error", "completed": is_done}
        entry = {"outputs": outputs, "status": {**status, "messages": messages}}
        self.history[key], self.running = entry, None
        await self._tell(body["client_id"], None, key)

    def _save(self, graph: dict[str, Any], inputs: dict[str, Any]) -> dict[str, str]:
        source = graph[inputs["images"][0]]["inputs"]
        if name := source.get("image"):
            data = self.uploads[name]
        else:
            buffer = io.BytesIO()
            colour = f"#{source['color']:06x}"
            Image.new("RGB", (source["width"], source["height"]), colour).save(buffer, "PNG")
            data = buffer.getvalue()
        folder, _, prefix = inputs["filename_prefix"].rpartition("/")
        self.files[folder, f"{prefix}_00001_.png"] = data
        return {"filename": f"{prefix}_00001_.png", "subfolder": folder, "type": "output"}

    async def _tell(self, client: str, node: str | None, key: str) -> None:
        if (socket := self.sockets.get(client)) is not None and not socket.closed:
            data = {"node": node, "prompt_id": key}
            await socket.send_json({"type": "executing", "data": data})

    async def _history(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        return web.json_response({key: self.history[key]} if key in self.history else {})

    async def _queue(self, request: web.Request) -> web.Response:
        names = [*self.others, *([self.running] if self.running else [])]
        running = [[0, name, {}, {}, []] for name in names]
        return web.json_response({"queue_running": running, "queue_pending": []})

    async def _done(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        self.interrupted.append((await request.json())["prompt_id"])
        return web.Response()

    async def _upload(self, request: web.Request) -> web.Response:
        field = (await request.post())["image"]
        assert isinstance(field, web.FileField)
        self.uploads["sub/other (1).png"] = field.file.read()
        return web.json_response({"name": "other (1).png", "subfolder": "sub", "type": "input"})

    async def _view(self, request: web.Request) -> web.StreamResponse:
        data = self.files[request.query["subfolder"], request.query["filename"]]
        if not self.cut:
            return web.Response(body=b"" if self.empty else data, content_type="image/png")
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[:-10])
        assert request.transport is not None
        request.transport.close()
        return response

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets[request.query["clientId"]] = socket
        self.clients.append(request.query["clientId"])
        async for message in socket:
            assert message.type is not WSMsgType.ERROR
        return socket
