"""RefAMBackend under label-studio-ml 1.0.9, and under a base class with the signature and habits of 2.x."""

import importlib
import subprocess
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient
from label_studio_ml.model import LabelStudioMLBase

import backend.web.ml_backend
import backend.web.ml_base
from backend.errors import LabelConfigError
from backend.queue.shared_state import SharedState
from backend.web.answers import Answering
from backend.web.app import create_app
from backend.web.ml_backend import RefAMBackend
from tests.support.processes import ROOT
from tests.support.tasks import CONFIG, body, task


@pytest.fixture
def model(settings, shared):
    return RefAMBackend(label_config=CONFIG, answering=Answering(shared, settings))


def test_is_a_model_of_the_installed_package(model):
    assert isinstance(model, LabelStudioMLBase)
    assert model.label_config == CONFIG


def test_is_made_as_1_0_9_makes_it(connection):
    made = RefAMBackend(label_config=CONFIG, train_output=None, hostname="http://localhost:8080", access_token="x")
    assert made.hostname == "http://localhost:8080"
    assert made.predict([], context=None, login=None) == []


class Base2:
    """label-studio-ml 2.x: positional project, read-only properties over a store, `setup` called from `__init__`."""

    store: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        self.setup()

    def setup(self) -> None: ...

    def set(self, key: str, value: str) -> None:
        self.store[self.project_id, key] = value

    @property
    def label_config(self) -> str | None:
        return self.store.get((self.project_id, "label_config"))

    @property
    def model_version(self) -> str | None:
        return self.store.get((self.project_id, "model_version"))


@pytest.fixture
def model_2(monkeypatch):
    """The module `backend.web.ml_backend` as it is where 2.x is installed."""
    with monkeypatch.context() as patch:
        patch.setattr(backend.web.ml_base, "LabelStudioMLBase", Base2)
        yield importlib.reload(backend.web.ml_backend)
    importlib.reload(backend.web.ml_backend)


@pytest.mark.parametrize("positional", [True, False])
def test_works_under_2_x(model_2, settings, run_jobs, positional, shared):
    arguments = (("3", CONFIG), {}) if positional else ((), {"project_id": "3", "label_config": CONFIG})
    made = model_2.RefAMBackend(*arguments[0], answering=Answering(shared, settings), **arguments[1])
    assert made.model_version == settings.model_version
    assert made.predict([task(1, "left"), task(2, "right")]) == [[], []]
    run_jobs()
    assert all(prediction["result"] for prediction in made.predict([task(1, "left"), task(2, "right")]))
    later = model_2.RefAMBackend("3", answering=Answering(shared, settings))  # 2.x remembers the config
    assert later.predict([task(1, "left")])[0]["score"] == 0.75


@pytest.mark.parametrize("positional", [True, False])
def test_entities_are_refused_before_the_base_class_reads_them(settings, positional, shared):
    config = '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + CONFIG
    with pytest.raises(LabelConfigError, match="entities"):
        if positional:
            RefAMBackend(config, answering=Answering(shared, settings))
        else:
            RefAMBackend(label_config=config, answering=Answering(shared, settings))


def test_many_tasks_get_what_is_ready_and_empty_lists(model, run_jobs):
    tasks = [task(number, f"left {number % 3}") for number in range(7)]
    assert model.predict(tasks) == [[]] * 7
    run_jobs()
    assert [bool(prediction) for prediction in model.predict([*tasks, task(8, "new")])] == [True] * 7 + [False]


def test_bad_tasks_cost_themselves_only(model, run_jobs, ledger):
    tasks = [
        task(1, "left"),
        task(2, ""),
        task(3, 5),
        task(4, {"text": "x", "label": "Whale"}),
        task(5, "x", image=" "),
        task(6, "right"),
    ]
    answer = model.answer(tasks)
    assert answer.results == [[]] * 6
    assert [(error["task"], error["field"]) for error in answer.errors] == [
        ("2", "text"), ("3", "text"), ("4", "label"), ("5", "image"),
    ]  # fmt: skip
    assert {entry["task"] for entry in ledger.failures.newest()} == {"2", "3", "4", "5"}
    run_jobs()
    assert [bool(result) for result in model.predict(tasks)] == [True, False, False, False, False, True]


def test_a_mended_task_leaves_the_list_of_failures(model, run_jobs, ledger):
    model.predict([task(2, "")])
    assert ledger.failures.newest()
    model.predict([task(2, "left"), task(3, "left")])
    run_jobs()
    model.predict([task(2, "left"), task(3, "left")])
    assert ledger.failures.newest() == []


def test_without_a_worker_nothing_is_waited_for(model):
    answer = model.answer([task(1, "left")])
    assert answer.results == [[]]
    assert answer.errors[0]["field"] == "worker"


def test_an_annotators_prompt_replaces_the_tasks_text(model, run_jobs):
    context = {"result": [{"type": "textarea", "from_name": "prompt", "value": {"text": ["right"]}}]}
    (unready,) = model.predict([task(1, "left")], context)
    assert [region["type"] for region in unready["result"]] == ["textarea"]  # the reason, and no mask
    run_jobs()
    (prompted,) = model.predict([task(1, "left")], context)
    model.predict([task(1, "left"), task(2, "right")])
    run_jobs()
    (plain, same) = model.predict([task(1, "left"), task(2, "right")])
    rle = [prediction["result"][0]["value"]["rle"] for prediction in (prompted, plain, same)]
    assert rle[0] == rle[2] != rle[1]


@pytest.mark.parametrize("kind", ["ellipselabels", "brushlabels"])
def test_other_shapes_get_an_empty_prediction(model, kind, settings):
    context = {"result": [{"type": kind, "from_name": "kp", "value": {"x": 40, "y": 30}}]}
    expected = {"model_version": settings.model_version, "score": 0.0, "result": []}
    assert model.predict([task(1, "left")], context) == [expected]


@pytest.mark.process
def test_torch_is_not_hidden_for_others():
    code = "import backend.web.ml_base, sys; assert 'torch' not in sys.modules; import torch.multiprocessing as m; "
    code += "import multiprocessing; assert multiprocessing.get_start_method(allow_none=True) is None; m.Queue"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.process
def test_torch_that_is_loaded_stays_loaded():
    code = "import torch, backend.web.ml_base, sys; assert sys.modules['torch'] is torch"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("stored", [True, False], ids=["by number", "of no number"])
def test_a_full_queue_takes_no_further_task_whoever_asks(configure, connection, stored):
    configured = configure(MAX_QUEUED=2, INLINE_SECONDS=0)
    shared = SharedState.over(connection, configured)
    app = TestClient(create_app(shared, configured))
    for number in range(1, 6):
        one = task(number if stored else f"task-{number}", f"left {number}")
        answer = app.post("/predict", json=body(one)).json()
        assert ("queue" in [error["field"] for error in answer["errors"]]) == (number > 2)
        some = [task(name, f"right {name}") for name in (f"a-{number}", f"b-{number}")]
        many = app.post("/predict", json=body(*some)).json()
        assert [error["field"] for error in many["errors"]] == ([] if number == 1 else ["queue", "queue"])
    assert {name: depth["waiting"] for name, depth in shared.backlog.depths().items()} == {
        "interactive": 2, "write": 0, "studio": 0, "batch": 2, "hint": 0,
    }  # fmt: skip
