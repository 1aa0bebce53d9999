import numpy as np
import pytest
from PIL import Image

from refam import figures
from refam.text import Role


@pytest.fixture(scope="module")
def result(refam, image):
    return refam.segment(image, "the goldfish on the left")


def texts(figure):
    return [axes.get_title() for axes in figure.axes]


def test_overlay_shows_each_step(result, image, tmp_path):
    figure = figures.overlay(image, "the goldfish on the left", result.grounding, result.mask, result.score)
    assert texts(figure) == ["input", "heatmap and points", f"mask, score {result.score:.2f}"]
    figures.save(figure, tmp_path / "new" / "overlay.png")
    with Image.open(tmp_path / "new" / "overlay.png") as saved:
        assert saved.width > saved.height > 100
        assert np.asarray(saved.convert("L")).std() > 10


def test_explanation_shows_every_token_with_its_role(refam, result, image):
    without_magnets = refam.with_settings(magnets="").ground(image, "the goldfish on the left")
    figure = figures.explanation(image, "the goldfish on the left", result.grounding, result, without_magnets)
    shown = [title for title in texts(figure) if "%" in title]
    assert len(shown) == len(result.grounding.tokens)
    for title, token in zip(shown, result.grounding.tokens, strict=True):
        assert title.startswith(f"{token.text}\n{token.role}, ")
        assert title.endswith("SINK") == token.sink
    framed = [axes for axes in figure.axes if axes.axison]
    assert len(framed) == sum(token.kept for token in result.grounding.tokens)
    assert any(token.role is Role.SIDE for token in result.grounding.tokens)
