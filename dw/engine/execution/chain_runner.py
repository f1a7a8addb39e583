"""The runner of a chain: makes a video of several calls of a step's pipeline, reports each segment,
and ends the chain at a stop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from dw.engine.calls.calling import call_default
from dw.engine.calls.chain import CallArguments, ChainMaker, Runner
from dw.engine.execution.run import RunState
from dw.engine.files.outputs import kept_after, spilled
from dw.engine.media.video import Video
from dw.errors import RunFailed
from dw.workflow.format.chain import Chain


def chain_runner(
    run: RunState, chain: Chain, prompts: Sequence[str], runner: Runner, stem: str
) -> Runner:
    """A runner that makes a chain of what `runner` makes; its segments' files begin with `stem`."""
    iterations = count()

    def make_video(arguments: CallArguments) -> list[Any]:
        iteration, taken = next(iterations), run.stop.taken

        def goes_on(done: int, total: int) -> bool:
            run.report("segment", done, total)
            run.context.control.check()
            run.stop.take()
            is_cut = run.stop.taken > taken and done < total
            run.stop.cuts += is_cut
            return not is_cut

        def spill(video: Video, index: int) -> Video:
            name = f"{stem}.{iteration}.segment-{index:03d}.mp4"
            path = run.path(name)
            try:
                kept, output = spilled(video, path)
            except RunFailed as error:
                run.keep_scratch()
                run.outputs += kept_after(error, path, video, "video/mp4")
                raise
            if chain.keep_segments:
                run.collect(iter([(run.step, output)]))
            else:
                run.scratch.append(output)
            return kept

        maker = ChainMaker(
            chain=chain,
            prompts=prompts,
            make=lambda given: runner(given)[0],
            default=lambda name: call_default(run.pipeline, name),
            goes_on=goes_on,
            spill=spill if chain.save_segments else None,
        )
        return [maker.video(arguments)]

    return make_video
