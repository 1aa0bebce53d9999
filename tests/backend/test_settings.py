import re

import pytest

from backend.errors import SettingsError
from backend.settings import Settings, load_settings, variables
from backend.supervisor.up import up
from backend.web.app import serve
from refam.errors import ConfigError


def test_defaults_need_no_environment():
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 9090)
    assert settings.model_version.startswith("refam-tiny-")
    assert settings.inline_seconds < 100


def test_every_setting_has_a_variable_and_a_description():
    assert len(variables()) == len(Settings.model_fields)
    for variable, description in variables().items():
        assert re.fullmatch(r"[A-Z_]+", variable)
        assert description.endswith("."), variable


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REFAM_BACKEND_PORT", "abc"),
        ("REFAM_BACKEND_PORT", "0"),
        ("REFAM_BACKEND_INLINE_SECONDS", "100"),
        ("REFAM_BACKEND_IMAGE_SCHEMES", "https,ftp"),
        ("REFAM_BACKEND_RETRY_DELAYS", "1,0"),
        ("REFAM_BACKEND_LOG_LEVEL", "loud"),
        ("LABEL_STUDIO_URL", "localhost:8080"),
        ("LABEL_STUDIO_URL", "http://user:secret@localhost"),
        ("LABEL_STUDIO_URL", "http://:secret@localhost"),
        ("LABEL_STUDIO_URL", "http://localhost:8080/?token=secret"),
        ("LABEL_STUDIO_URL", "http://localhost\\@secret"),
        ("LABEL_STUDIO_API_KEY", "secret\r\nX-Header: 1"),
        ("LABEL_STUDIO_API_KEY", "secret word"),
        ("REDIS_URL", "redis://:pass/secret@localhost:6379"),
        ("REDIS_URL", "http://secret"),
    ],
)
def test_a_wrong_value_names_its_variable_and_shows_no_value(environment, variable, value):
    environment.setenv(variable, value)
    with pytest.raises(SettingsError, match=variable) as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_a_misspelt_variable_is_named_with_the_right_one(environment):
    environment.setenv("REFAM_BACKEND_PROT", "1")
    with pytest.raises(SettingsError, match="Did you mean REFAM_BACKEND_PORT"):
        load_settings()


def test_a_wrong_model_setting_shows_at_the_start(environment):
    environment.setenv("REFAM_POINTS", "many")
    with pytest.raises(ConfigError, match="REFAM_POINTS"):
        load_settings()


def test_password_without_user_is_refused(environment):
    environment.setenv("BASIC_AUTH_PASS", "hush")
    with pytest.raises(SettingsError, match="BASIC_AUTH_USER and BASIC_AUTH_PASS") as caught:
        load_settings()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "MIN_SCORE, such as to 0.5"),
        ({"REFAM_BACKEND_MIN_SCORE": "0"}, "MIN_SCORE"),
        ({"REFAM_BACKEND_MIN_SCORE": "0.5", "REFAM_METHOD": "faithful"}, "REFAM_CHOICE"),
    ],
)
def test_labels_as_prompts_need_a_least_score_and_a_choice_of_things(environment, values, named):
    environment.setenv("REFAM_BACKEND_LABELS_AS_PROMPTS", "on")
    for variable, value in values.items():
        environment.setenv(variable, value)
    with pytest.raises(SettingsError, match=named) as caught:
        load_settings()
    assert "REFAM_BACKEND_LABELS_AS_PROMPTS" in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "backend.example"])  # noqa: S104
def test_nobody_listens_for_others_without_a_password(environment, host):
    environment.setenv("REFAM_BACKEND_HOST", host)
    for run in (serve, lambda settings: up(settings, print)):
        with pytest.raises(SettingsError, match=r"BASIC_AUTH_PASS; or REFAM_BACKEND_OPEN=1"):
            run(load_settings())
    environment.setenv("REFAM_BACKEND_OPEN", "1")
    load_settings().require_password()
    environment.delenv("REFAM_BACKEND_OPEN")
    environment.setenv("BASIC_AUTH_USER", "u")
    environment.setenv("BASIC_AUTH_PASS", "p")
    load_settings().require_password()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1"])
def test_this_machine_needs_no_password(environment, host):
    environment.setenv("REFAM_BACKEND_HOST", host)
    load_settings().require_password()


def test_lists_are_split_and_empty_values_mean_the_default(environment):
    environment.setenv("REFAM_BACKEND_IMAGE_HOSTS", "a.org, *.b.org")
    environment.setenv("REFAM_BACKEND_PORT", "")
    settings = load_settings()
    assert settings.image_hosts == ("a.org", "*.b.org")
    assert settings.port == 9090


def test_secrets_are_not_shown(environment):
    environment.setenv("REDIS_URL", "rediss://:hush@localhost")
    for name in ("LABEL_STUDIO_API_KEY", "BASIC_AUTH_PASS"):
        environment.setenv(name, "hush")
    environment.setenv("BASIC_AUTH_USER", "me")
    assert "hush" not in repr(load_settings())


@pytest.mark.parametrize("url", ["http://localhost:8080", "https://labels.example.com/studio/", "http://[::1]:8080"])
def test_label_studios_address(environment, url):
    environment.setenv("LABEL_STUDIO_URL", url)
    assert load_settings().label_studio_url == url.rstrip("/")


def test_the_environment_is_read_once(environment):
    environment.setenv("REFAM_POINTS", "2")
    settings = load_settings()
    environment.setenv("REFAM_POINTS", "3")
    environment.setenv("REFAM_BACKEND_PORT", "1")
    assert (settings.refam.points, settings.port) == (2, 9090)
    assert settings.model_copy(update={"port": 5}).refam.points == 2
