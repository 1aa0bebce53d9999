"""Label Studio's editor in a browser: what an annotator does in it, and what it then holds."""

from typing import Any

import numpy as np
from label_studio_sdk.converter.brush import decode_rle
from numpy.typing import NDArray
from playwright.sync_api import Page

ANNOTATION = "window.dataManager.lsf.lsf.annotationStore.selected"
REGIONS = f"{ANNOTATION}.regions.filter(region => region.type === 'brushregion')"
SUGGESTIONS = f"[...{ANNOTATION}.suggestions.values()].filter(region => region.type === 'brushregion')"
HOTKEYS = {"mask": "1", "click": "2", "box": "3"}  # of the labels, in the config's order
SETTLE = 800  # ms that the canvas takes


class Editor:
    """One annotator's editor."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url

    def open(self, project: int, task: int) -> None:
        """Open a task, and wait until its picture is drawn."""
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(f"window.dataManager?.lsf?.lsf && {ANNOTATION}?.names.get('image')?.imageIsLoaded")
        self.page.wait_for_timeout(SETTLE)

    def retrieve(self, project: int, tasks: list[int]) -> None:
        """Select tasks in the Data Manager, and choose Actions > Retrieve Predictions."""
        self.page.goto(f"{self._url}/projects/{project}/data")
        for task in tasks:
            self.page.get_by_label(f"Select Task {task}", exact=True).click(force=True)
        self.page.get_by_role("button", name="Tasks Actions").click()
        self.page.get_by_label("Retrieve Predictions").click()
        with self.page.expect_response(lambda r: "retrieve_tasks_predictions" in r.url) as response:
            self.page.get_by_test_id("dialog-ok-button").click()
        assert response.value.ok

    def type_prompt(self, text: str) -> None:
        self.page.fill("input[name=prompt]", text)
        self.page.press("input[name=prompt]", "Enter")

    def texts(self) -> list[str]:
        """What stands in the prompt's field."""
        found = [r["value"]["text"] for r in self.results() if r["type"] == "textarea"]
        return [text for texts in found for text in texts]

    def click(self, x: float, y: float, *, negative: bool = False) -> None:
        """Click with the smart key point tool at these fractions of the image's width and height."""
        self._take("click", "key-point-tool")
        place = self._place(x, y)
        if negative:
            self.page.keyboard.down("Alt")
        self.page.mouse.click(*place)
        if negative:
            self.page.keyboard.up("Alt")

    def draw_box(self, left: float, top: float, right: float, bottom: float) -> None:
        """Draw a rectangle with the smart tool."""
        self._take("box", "rectangle-tool")
        self._drag((left, top), (right, bottom))

    def stroke(self, tool: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw a stroke with brush or eraser on the first mask."""
        self.page.evaluate(f"{ANNOTATION}.selectArea({REGIONS}[0])")
        self.page.locator(f".lsf-tool[aria-label={tool}]:visible").first.click()
        self._drag(start, end)
        self.page.wait_for_timeout(SETTLE)

    def accept(self) -> None:
        """Accept all suggestions."""
        self.page.click(".lsf-auto-accept__action_type_accept")
        self.page.wait_for_function(f"{ANNOTATION}.suggestions.size === 0")
        self.page.wait_for_timeout(SETTLE)

    def submit(self) -> None:
        with self.page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST") as response:
            self.page.click("button[aria-label='Submit current annotation']")
        assert response.value.ok

    def wait_for_mask(self) -> NDArray[np.bool_]:
        """The pixels of the first region."""
        self.page.wait_for_function(f"{REGIONS}.length > 0")
        self.page.wait_for_timeout(SETTLE)
        return self._mask(REGIONS)

    def wait_for_suggestions(self, count: int) -> list[NDArray[np.bool_]]:
        """The pixels of so many suggestions."""
        self.page.wait_for_function(f"{SUGGESTIONS}.length === {count}")
        self.page.wait_for_timeout(SETTLE)
        return [self._mask(SUGGESTIONS, number) for number in range(count)]

    def wait_for_suggestion(self, other_than: str = "") -> NDArray[np.bool_]:
        """The pixels of the suggestion."""
        self.page.wait_for_function(f"{SUGGESTIONS}.length === 1 && {SUGGESTIONS}[0].id !== '{other_than}'")
        self.page.wait_for_timeout(SETTLE)
        return self._mask(SUGGESTIONS)

    def suggestion(self) -> str:
        """The suggestion's id."""
        return str(self.page.evaluate(f"{SUGGESTIONS}[0].id"))

    def results(self) -> list[dict[str, Any]]:
        """All that Submit would send."""
        return list(self.page.evaluate(f"JSON.parse(JSON.stringify({ANNOTATION}.serializeAnnotation()))"))

    def _take(self, tag: str, tool: str) -> None:
        """Choose a tag's label and a smart tool."""
        if not self.page.evaluate(f"{ANNOTATION}.names.get('{tag}').selectedLabels.length"):
            self.page.keyboard.press("Escape")
            self.page.keyboard.press(HOTKEYS[tag])
        self.page.locator(".lsf-tool:visible").last.hover()
        self.page.locator(f".lsf-tool[aria-label={tool}]:visible").last.click()
        if not self.page.evaluate(f"{ANNOTATION}.names.get('{tag}').selectedLabels.length"):
            self.page.keyboard.press(HOTKEYS[tag])
        self.page.mouse.move(*self._place(0.5, 0.5))
        self.page.wait_for_timeout(SETTLE)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        canvas = self.page.locator(".konvajs-content canvas").first.bounding_box()
        assert canvas is not None
        return canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"]

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self._place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self._place(*end), steps=8)
        self.page.mouse.up()

    def _mask(self, regions: str, number: int = 0) -> NDArray[np.bool_]:
        """bool [H, W]: what the editor's canvas holds of one of these regions, as Submit would send it."""
        return read_mask(self.page.evaluate(f"JSON.parse(JSON.stringify({regions}[{number}].serialize()))"))


def read_mask(result: dict[str, Any]) -> NDArray[np.bool_]:
    """Mask of a brush result, bool [H, W]. The alpha of edited masks has soft edges."""
    shape = result["original_height"], result["original_width"], 4
    alpha: NDArray[np.uint8] = decode_rle(result["value"]["rle"]).reshape(shape)[..., 3]
    return alpha > 127
