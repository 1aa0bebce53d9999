"""The commands: what they say, and how they end."""

from typer.testing import CliRunner

from backend.cli import app


def invoke(*arguments):
    return CliRunner().invoke(app, arguments)


def test_what_is_wrong_is_said_without_a_traceback(environment):
    result = invoke("status")
    assert result.exit_code == 1
    assert "refam-backend up" in result.output
    environment.setenv("REFAM_BACKEND_PORT", "x")
    for command in ("up", "serve", "worker", "status"):
        result = invoke(command)
        assert result.exit_code == 1
        assert "REFAM_BACKEND_PORT" in result.output
        assert "Traceback" not in result.output
