import pytest

from backend.label_studio.numbers import LARGEST_NUMBER, is_number


@pytest.mark.parametrize("text", ["0", "7", "12", str(LARGEST_NUMBER)])
def test_as_label_studio_writes_them(text):
    assert is_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "012",
        "00",
        "-1",
        "+1",
        "1.0",
        "1e3",
        " 1",
        "1\n",
        "\u0667",
        "\u00b2",
        "1_000",
        str(LARGEST_NUMBER + 1),
        7,
        None,
    ],
)
def test_other_texts_are_none(text):
    assert not is_number(text)
