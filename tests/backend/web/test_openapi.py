"""The routes as their OpenAPI document describes them, with bodies made up from it."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from redis import Redis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from backend.queue.shared_state import SharedState
from backend.settings import load_settings
from backend.web.access import ASKED_BY
from backend.web.app import create_app
from tests.support.tasks import CONFIG

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OURS = {"X-Requested-With": ASKED_BY}


@pytest.fixture(scope="module")
def api(redis_socket):
    with pytest.MonkeyPatch.context() as patch, Redis(unix_socket_path=str(redis_socket), db=2) as connection:
        patch.setenv("REDIS_URL", f"unix://{redis_socket}?db=2")
        patch.setenv("REFAM_BACKEND_INLINE_SECONDS", "0")
        configured = load_settings()
        connection.flushdb()
        yield schemathesis.openapi.from_asgi(
            "/openapi.json", create_app(SharedState.over(connection, configured), configured)
        )


def test_no_request_is_a_bug(api):
    for operation in (result.ok() for result in api.get_all_operations()):

        @effort(max_examples=15, suppress_health_check=list(HealthCheck), database=None)
        @given(operation.as_strategy())
        def sends(case):
            case.call_and_validate(checks=CHECKS)
            reach_deeper(case)
            case.call_and_validate(checks=CHECKS, headers=OURS)

        sends()


def reach_deeper(case):
    """Give a request usable numbers, a body a usable label config, and its tasks values for image and text."""
    case.query = dict.fromkeys(case.query or {}, "7")
    body = case.body
    if not isinstance(body, dict):
        return
    body |= {"label_config": CONFIG, "schema": CONFIG, "project": {"label_config": CONFIG}}
    for task in body["tasks"] if isinstance(body.get("tasks"), list) else []:
        if isinstance(task, dict) and isinstance(data := task.get("data"), dict):
            task["data"] = data | dict(zip(("image", "text", "label"), data.values(), strict=False))


def test_bodies_are_described(api):
    for path in ("/setup", "/predict", "/webhook"):
        (content,) = api.raw_schema["paths"][path]["post"]["requestBody"]["content"].values()
        assert content["schema"]["required"]
        assert "$ref" not in str(content)
