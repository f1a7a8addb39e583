"""The cache, with components whose load takes no time."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from dw.engine.models import cache as module
from dw.engine.models.cache import ComponentCache, LoadItem, StepRequirement
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.live_models import LiveModels
from dw.engine.models.loading import FileContent
from dw.engine.models.spec import (
    ComponentSpec,
    PipelineSpec,
    Placement,
    PlacementPlan,
    SchedulerSpec,
    SingleFile,
)

CPU = PlacementPlan(Placement("cpu"))


class Model(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)

    @classmethod
    def from_pretrained(cls, _source: str, **_arguments: Any) -> Model:
        return cls()


class Tokenizer:
    @classmethod
    def from_pretrained(cls, _source: str) -> Tokenizer:
        return cls()


def model(name: str, **changes: Any) -> ComponentSpec:
    spec = ComponentSpec(Model, Fingerprint(name), torch.float32, Placement("cpu"))
    return replace(spec, **changes)


TOKENIZER = ComponentSpec(Tokenizer, Fingerprint("t"), None, None)


def need(step: str, single_file: SingleFile | None = None, **parts: Any) -> StepRequirement:
    return StepRequirement(
        step, PipelineSpec(StableDiffusionPipeline, parts, {}, {}, CPU, single_file)
    )


class Loads:
    """What a cache was told ahead of each load."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def __call__(self, item: LoadItem, index: int, total: int) -> None:
        self.seen.append((item.label, index, total))


@pytest.fixture
def live() -> LiveModels:
    return LiveModels()


@pytest.fixture
def cache(live: LiveModels) -> ComponentCache:
    return ComponentCache(live)


def loaded(cache: ComponentCache, *needs: StepRequirement) -> list[tuple[str, int, int]]:
    plan = cache.plan(needs)
    cache.keep_only(plan)
    loads = Loads()
    cache.load(plan, before=loads)
    return loads.seen


def labels(cache: ComponentCache) -> list[str]:
    return [component.label for component in cache.components()]


# ------------------------------------------------------------------ plans


def test_a_first_plan_loads_everything_once(cache: ComponentCache) -> None:
    a, b = need("a", unet=model("1"), vae=None), need("b", unet=model("1"), text=model("2"))
    plan = cache.plan([a, b])
    assert [(item.label, item.cls, item.spec, item.need) for item in plan.loads] == [
        ("a.unet", Model, model("1"), a),
        ("b.text", Model, model("2"), b),
    ]
    assert (dict(plan.kept), plan.dropped) == ({}, ())
    assert loaded(cache, a, b) == [("a.unet", 1, 2), ("b.text", 2, 2)]
    assert labels(cache) == ["a.unet", "b.text"]


def test_what_is_there_is_kept_under_its_new_label(cache: ComponentCache) -> None:
    loaded(cache, need("a", unet=model("1"), vae=model("2")))
    unet = cache.components()[0].value
    plan = cache.plan([need("b", model=model("1"))])
    assert (dict(plan.kept), plan.loads, plan.dropped) == (
        {model("1"): "b.model"},
        (),
        ("a.vae",),
    )
    cache.keep_only(plan)
    assert labels(cache) == ["b.model"]
    assert cache.components()[0].value is unet


def test_a_plan_changes_nothing(cache: ComponentCache) -> None:
    loaded(cache, need("a", unet=model("1")))
    cache.plan([need("b", unet=model("2"))])
    assert labels(cache) == ["a.unet"]


def test_what_is_dropped_is_freed_although_it_is_a_cycle(cache: ComponentCache) -> None:
    loaded(cache, need("a", unet=model("1")))
    value: Any = cache.components()[0].value
    value.me = [value]
    ref = weakref.ref(value)
    del value
    gc.disable()
    try:
        cache.keep_only(cache.plan([]))
        assert ref() is None
    finally:
        gc.enable()


def test_a_run_that_drops_nothing_pays_for_no_collection(
    cache: ComponentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = need("a", unet=model("1"))
    loaded(cache, one)
    collections: list[None] = []
    monkeypatch.setattr(gc, "collect", lambda: collections.append(None))
    loaded(cache, one)
    assert collections == []
    loaded(cache)
    assert collections == [None]


def test_a_fingerprint_is_that_of_the_component_or_of_the_file() -> None:
    one, file = need("a", unet=model("1")), need("b", single("2"))
    assert LoadItem("a.unet", Model, model("1"), one).fingerprint == Fingerprint("1")
    assert LoadItem("b.file", Model, None, file).fingerprint == Fingerprint("2")


# ------------------------------------------------------------------ release, forget, clear


def test_a_release_keeps_what_another_needs(cache: ComponentCache) -> None:
    a, b = need("a", unet=model("1"), vae=model("2")), need("b", vae=model("2"))
    loaded(cache, a, b)
    value: Any = cache.components()[0].value
    value.me = [value]
    ref = weakref.ref(value)
    del value
    gc.disable()
    try:
        cache.release([a], still_needed=[b])
        assert ref() is None
    finally:
        gc.enable()
    assert labels(cache) == ["a.vae"]


def test_forgotten_components_are_loaded_again(cache: ComponentCache) -> None:
    both = need("a", unet=model("1"), vae=model("2"))
    loaded(cache, both)
    unet, _ = cache.components()
    cache.forget(unet)
    cache.forget(unet)
    assert labels(cache) == ["a.vae"]
    assert loaded(cache, both) == [("a.unet", 1, 1)]


def test_after_a_clear_nothing_is_there(cache: ComponentCache, live: LiveModels) -> None:
    both = need("a", unet=model("1"), tokenizer=TOKENIZER)
    loaded(cache, both)
    assert [name for name, _ in live.living()] == ["a.unet"]
    cache.clear()
    assert cache.components() == []
    assert loaded(cache, both) == [("a.unet", 1, 2), ("a.tokenizer", 2, 2)]


# ------------------------------------------------------------------ what is handed out


def test_parts_by_name_with_the_time_of_their_last_use(
    cache: ComponentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = need("a", unet=model("1"), tokenizer=TOKENIZER, vae=None)
    monkeypatch.setattr("time.time", lambda: 70.0)
    loaded(cache, one)
    assert [component.last_used for component in cache.components()] == [70.0, 70.0]
    monkeypatch.setattr("time.time", lambda: 77.0)
    parts = cache.parts(one.pipeline)
    unet, tokenizer = cache.components()
    assert parts == {"unet": unet.value, "tokenizer": tokenizer.value, "vae": None}
    assert (unet.last_used, tokenizer.last_used) == (77.0, 77.0)
    assert list(cache.models(one.pipeline)) == ["unet"]
    assert cache.models(one.pipeline)["unet"] is unet
    assert unet.state.is_current(unet.value)


def test_a_component_tells_its_size_and_dtype_as_they_were_loaded(cache: ComponentCache) -> None:
    loaded(cache, need("a", unet=model("1"), tokenizer=TOKENIZER))
    unet, tokenizer = cache.components()
    assert (unet.nbytes, unet.dtypes) == (24, frozenset({torch.float32}))
    assert (tokenizer.nbytes, tokenizer.dtypes) == (0, frozenset())
    unet.value.half()
    assert (unet.nbytes, unet.dtypes) == (24, frozenset({torch.float32}))


# ------------------------------------------------------------------ files that change


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    ("placement", "is_dropped"),
    [(Placement("cpu"), True), (Placement("cuda:0", "model"), True), (Placement("cuda:0"), False)],
)
def test_changed_weights_in_host_memory_are_dropped(
    cache: ComponentCache,
    weights: Path,
    placement: Placement,
    is_dropped: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "load_component", lambda spec: spec.cls())
    changing = model("", fingerprint=Fingerprint.of(weights), placement=placement)
    one = need("a", vae=model("2"), unet=changing, text=model("3"))
    loaded(cache, one)
    assert cache.drop_changed() == []
    weights.write_bytes(b"WEIGHTS")
    changes = [f"{str(weights)!r} was changed"] if is_dropped else []
    assert cache.drop_changed() == changes
    kept = ["a.vae", "a.text"] if is_dropped else ["a.vae", "a.unet", "a.text"]
    assert labels(cache) == kept


def test_a_component_whose_file_changed_under_the_load_is_not_kept(
    cache: ComponentCache, weights: Path
) -> None:
    from dw.errors import RunFailed

    changing = model("", fingerprint=Fingerprint.of(weights), source=weights.parent)
    weights.write_bytes(b"WEIGHTS")
    with pytest.raises(RunFailed, match="was changed while it was being read"):
        loaded(cache, need("a", unet=changing))
    assert labels(cache) == []


# ------------------------------------------------------------------ single files


def single(fingerprint: str, **changes: Any) -> SingleFile:
    path = Path(f"/models/{fingerprint}.safetensors")
    file = SingleFile(
        StableDiffusionPipeline, path, Fingerprint(fingerprint), None, torch.float32, {}
    )
    return replace(file, **changes)


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is passed in for each read of a file that holds a unet, a vae and a tokenizer."""
    reads: list[dict[str, Any]] = []

    def load_single_file(file: SingleFile, have: dict[str, Any], plan: PlacementPlan) -> Any:
        assert plan is CPU
        reads.append(have)
        inside = {"unet": Model, "vae": Model, "tokenizer": Tokenizer}
        parts = {name: cls() for name, cls in inside.items() if name not in have}
        classes = {name: type(part) for name, part in parts.items()}
        scheduler = SchedulerSpec(object, {"of": str(file.fingerprint)})
        return parts, FileContent(classes, {"scheduler": scheduler}, {"steps": 1})

    monkeypatch.setattr(module, "load_single_file", load_single_file)
    return reads


def test_a_file_is_read_once_and_its_parts_are_known(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    one = need("a", single("f"), text=model("1"), safety=None)
    item = cache.plan([one]).loads[-1]
    assert (item.label, item.cls, item.spec) == ("a.f.safetensors", StableDiffusionPipeline, None)
    assert loaded(cache, one, one) == [("a.text", 1, 2), ("a.f.safetensors", 2, 2)]
    text = cache.components()[0].value
    assert files == [{"text": text, "safety": None}]
    assert labels(cache) == ["a.text", "a.unet", "a.vae", "a.tokenizer"]
    assert loaded(cache, one) == []
    assert set(cache.parts(one.pipeline)) == {"unet", "vae", "tokenizer", "text", "safety"}


def test_the_files_own_schedulers_and_scalars_give_way_to_the_workflows(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    own = SchedulerSpec(object, {"of": "workflow"})
    one = need("a", single("f"))
    spec = replace(one.pipeline, scalars={"width": 8})
    assert (cache.schedulers(spec), cache.scalars(spec)) == ({}, {"width": 8})
    plain = replace(spec, single_file=None)
    assert (cache.schedulers(plain), cache.scalars(plain)) == ({}, {"width": 8})
    loaded(cache, one)
    assert cache.schedulers(spec)["scheduler"].config == {"of": "f"}
    assert cache.scalars(spec) == {"steps": 1, "width": 8}
    given = replace(spec, schedulers={"scheduler": own}, scalars={"steps": 4})
    assert cache.schedulers(given)["scheduler"] is own
    assert cache.scalars(given) == {"steps": 4}


def test_a_part_that_is_missing_is_read_with_the_rest_passed_in(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    one = need("a", single("f"))
    loaded(cache, one)
    unet, vae, tokenizer = cache.components()
    cache.forget(unet)
    assert loaded(cache, one) == [("a.unet", 1, 1)]
    assert files[-1] == {"vae": vae.value, "tokenizer": tokenizer.value}
    assert set(labels(cache)) == {"a.unet", "a.vae", "a.tokenizer"}
    assert loaded(cache, one) == []


def test_a_part_that_came_from_elsewhere_is_read_when_it_does_not_any_more(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    loaded(cache, need("a", single("f"), vae=model("1"), text=model("2")))
    unet, tokenizer = (c.value for c in cache.components()[2:])
    without = need("a", single("f"), text=model("2"))
    assert loaded(cache, without) == [("a.f.safetensors", 1, 1)]
    assert files[-1].keys() == {"text", "unet", "tokenizer"}
    assert (files[-1]["unet"], files[-1]["tokenizer"]) == (unet, tokenizer)
    assert set(labels(cache)) == {"a.unet", "a.vae", "a.tokenizer", "a.text"}
    assert loaded(cache, without) == []
    assert set(cache.parts(without.pipeline)) == {"unet", "vae", "tokenizer", "text"}
    assert loaded(cache, need("a", single("f"), vae=model("1"), text=model("2"))) == [
        ("a.vae", 1, 1)
    ]


def test_a_kept_component_is_watched_where_its_files_are_now(
    cache: ComponentCache, tmp_path: Path
) -> None:
    place = tmp_path / "before"
    place.mkdir()
    (place / "x.safetensors").write_bytes(b"weights")
    loaded(cache, need("a", unet=model("1", fingerprint=Fingerprint.of(place), source=place)))
    moved = place.rename(tmp_path / "after")
    again = need("a", unet=model("1", fingerprint=Fingerprint.of(moved), source=moved))
    assert loaded(cache, again) == []
    assert cache.drop_changed() == []
    (moved / "x.safetensors").write_bytes(b"others")
    assert cache.drop_changed() == [f"{str(moved / 'x.safetensors')!r} was cut from 7 to 6 bytes"]


def test_two_parts_of_one_file_are_one_read(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    one = need("a", single("f"), text=model("1"))
    loaded(cache, one)
    cache.forget(*cache.components())
    assert [label for label, *_ in loaded(cache, one)] == [
        *("a.text", "a.unet", "a.vae", "a.tokenizer")
    ]
    assert len(files) == 2


def test_files_of_several_steps_are_read_one_after_the_other(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    both = need("a", single("f")), need("b", single("g"))
    assert loaded(cache, *both) == [("a.f.safetensors", 1, 2), ("b.g.safetensors", 2, 2)]
    inside = [f"{step}.{name}" for step in "ab" for name in ("unet", "vae", "tokenizer")]
    assert labels(cache) == inside
    assert [type(c.value) for c in cache.components()] == [Model, Model, Tokenizer] * 2
    cache.forget(*cache.components())
    assert [label for label, *_ in loaded(cache, *both)] == inside
    assert labels(cache) == inside


def test_files_come_last(cache: ComponentCache, files: list[dict[str, Any]]) -> None:
    file, folder = need("a", single("f")), need("b", text=model("1"))
    assert [label for label, *_ in loaded(cache, file, folder)] == ["b.text", "a.f.safetensors"]
    cache.forget(*cache.components())
    assert loaded(cache, file, folder)[0][0] == "b.text"


def test_another_content_is_another_file(
    cache: ComponentCache, files: list[dict[str, Any]]
) -> None:
    loaded(cache, need("a", single("f")))
    assert cache.plan([need("a", single("g"))]).dropped == ("a.unet", "a.vae", "a.tokenizer")
    assert [label for label, *_ in loaded(cache, need("a", single("g")))] == ["a.g.safetensors"]
    cache.clear()
    assert [label for label, *_ in loaded(cache, need("a", single("g")))] == ["a.g.safetensors"]
