"""Who may connect to whom: tokens, and addresses that Label Studio refuses."""

import pytest

from tests.e2e.running import CONFIG, REFUSED, run_command


@pytest.mark.parametrize("kind", ["personal", "legacy"])
def test_both_kinds_of_token_are_accepted(kind, backend, studio):
    token = {"personal": backend.settings.label_studio_api_key.get_secret_value(), "legacy": studio.token}[kind]
    code, said = run_command({**backend.variables, "LABEL_STUDIO_API_KEY": token}, "doctor")
    assert code == 0, said
    assert f"token: accepted, for {studio.email}" in said
    assert f"connecting: Label Studio accepts a backend at {backend.address}" in said


def test_doctor_recognises_an_address_that_label_studio_refuses(backend, api):
    before = api.ask("GET", "/api/webhooks/")
    code, said = run_command({**backend.variables, "REFAM_BACKEND_HOST": REFUSED}, "doctor")
    assert code == 1
    assert f"connecting: Label Studio refuses a backend at http://{REFUSED}" in said
    assert "reserved network address" in said
    assert "USE_DEFAULT_BANNED_SUBNETS=false" in said
    assert api.ask("GET", "/api/webhooks/") == before, "doctor changed something"


def test_that_is_what_connecting_ends_with(api):
    project = api.ask("POST", "/api/projects/", {"title": "refused", "label_config": CONFIG})["id"]
    content = {"project": project, "url": f"http://{REFUSED}:9090"}
    status, detail = api.refused("POST", "/api/ml", content)
    assert status == 403
    assert "reserved network address" in detail
