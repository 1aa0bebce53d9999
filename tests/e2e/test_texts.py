"""What annotators type beside plain names: several things, what is not meant, and what is not there."""

import numpy as np
import pytest

from refam.evaluate import intersection_over_union
from refam.language.reading import read_phrase
from tests.e2e.running import run_command

WORDLESS = "of the"  # the task has no prediction


@pytest.fixture
def pair(sample):
    """A sample task whose picture holds two things of a kind, told apart by their side; and the kind's name."""
    entry = next(entry for entry in sample if entry.kind == "position" and "left" in entry.text)
    phrase = read_phrase(entry.text)
    return entry, phrase.name_of(phrase.target)


@pytest.fixture
def opened(project, api, editor, pair):
    (task,) = api.add_tasks(project, [(pair[0].picture.name, WORDLESS)])
    editor.open(project, task)
    return task


def test_all_of_a_kind_are_several_regions(opened, editor, pair, refam):
    entry, name = pair
    expected = refam.segment(entry.image, f"all the {name}")
    assert len(expected.masks) >= 2
    editor.type_prompt(f"all the {name}")
    masks = editor.wait_for_suggestions(len(expected.masks))
    assert intersection_over_union(np.logical_or.reduce(masks), expected.mask) >= 0.99
    assert np.sum(masks, axis=0).max() == 1, "regions overlap"
    editor.accept()
    assert len([result for result in editor.results() if result["type"] == "brushlabels"]) == len(masks)


def test_a_negated_side_is_understood(opened, editor, pair, refam):
    entry, name = pair
    text = f"the {name} that is not on the left"
    editor.type_prompt(text)
    (mask,) = editor.wait_for_suggestions(1)
    assert intersection_over_union(mask, refam.segment(entry.image, text).mask) >= 0.99
    assert intersection_over_union(mask, refam.segment(entry.image, f"the {name} on the left").mask) < 0.5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("anything but the {}", "⚠ The text names no kind of thing; write what to look for"),
        ("红色的杯子", "⚠ The model knows none of the words '红色的杯子'; describe the thing in other, English words."),
        ("the fifth {} from the left", "⚠ Nothing found (score 0.00). Describe it otherwise."),
    ],
)
def test_what_is_not_answered_is_explained_to_the_annotator(opened, editor, pair, text, reason):
    editor.type_prompt(text.format(pair[1]))
    editor.page.wait_for_selector("text=⚠")
    editor.page.wait_for_function(f"document.body.innerText.includes({reason[:30]!r})")
    assert editor.texts()[-1].startswith(reason)


def test_a_word_that_the_model_does_not_know_is_told(project, opened, editor, pair, api):
    text = f"the {pair[1]} beside the anemometer"
    note = "The model does not know 'anemometer', and looked for the rest alone."
    editor.type_prompt(text)
    editor.wait_for_suggestions(1)
    assert editor.texts()[-1] == f"⚠ {note}"
    (task,) = api.add_tasks(project, [(pair[0].picture.name, text)])
    editor.open(project, task)
    editor.wait_for_mask()
    (region,) = [result for result in editor.results() if result["type"] == "brushlabels"]
    assert region["meta"]["text"] == [note]


def test_what_scores_less_than_asked_is_not_stored(unconnected, api, backend, sample):
    api.add_tasks(unconnected, [(sample[0].picture.name, sample[0].text)])
    code, said = run_command(backend.variables, "prelabel", str(unconnected), "--min-score", "0.999")
    assert code == 0, said
    assert "done 0, nothing found 1, skipped 0, failed 0" in said
    assert api.per_task(unconnected) == [0]
    code, said = run_command(backend.variables, "prelabel", str(unconnected))
    assert "done 1, skipped 0, failed 0" in said
