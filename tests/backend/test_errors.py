from backend.errors import LONGEST, TaskError


def test_reasons_are_short_and_fit_into_one_line():
    error = TaskError("im\nage", "\x1b[31mred\r\n2026 INFO forged\u202e", "x" * 10 * LONGEST)
    assert str(error).isprintable()
    assert error.as_json()["field"] == "im\N{REPLACEMENT CHARACTER}age"
    assert len(error.remedy) == LONGEST
    assert error.remedy.endswith("\N{HORIZONTAL ELLIPSIS}")
