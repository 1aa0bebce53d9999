"""The status page in a browser that knows the backend's password: what it shows, and what its buttons do."""

import shutil

import httpx
import pytest

from tests.e2e.running import PASSWORD, PATIENCE, SCREENSHOTS, USER, eventually

WAITING = 60  # tasks; more than are done while a button is clicked


@pytest.fixture
def status_page(browser, backend, request):
    """The page; a screenshot of how it was left is taken."""
    context = browser.new_context(
        http_credentials={"username": USER, "password": PASSWORD}, viewport={"width": 1200, "height": 1000}
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(backend.address)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png", full_page=True)
    context.close()


def section(page, title):
    """A section of the page."""
    return page.locator("section").filter(has=page.get_by_role("heading", name=title, exact=True))


def row(page, title, *cells):
    """The row of a section's table that begins with these cells."""
    found = section(page, title).locator("tbody tr")
    for number, cell in enumerate(cells, 1):
        found = found.filter(
            has=page.locator(f"td:nth-child({number}):text-is('{cell}'), td:nth-child({number}) :text-is('{cell}')")
        )
    return found


def test_a_failed_task_is_retried_with_its_button(project, api, studio, sample, status_page):
    entry, late = sample[0], "late.png"
    (task,) = api.add_tasks(project, [(late, entry.text)])
    link = status_page.get_by_role("link", name=str(task), exact=True)  # the newest of its reason is the example
    failed = section(status_page, "Failed tasks").locator("tbody tr").filter(has=link, has_text="image: ").first
    failed.wait_for()
    address = failed.get_by_role("link", name=str(task), exact=True).last.get_attribute("href")
    assert str(address).endswith(f"/projects/{project}/data?task={task}")
    assert section(status_page, "Queue").locator("tbody tr").count() == 5

    shutil.copy(studio.files / entry.picture.name, studio.files / late)
    failed.get_by_role("button", name="Retry all").click()
    failed.wait_for(state="detached")
    eventually(lambda: api.per_task(project) == [1])
    shown = section(status_page, "Last masks").locator("figure").filter(has_text=f"task {task} ")
    shown.wait_for()
    assert shown.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_waiting_tasks_are_cancelled_with_a_button(project, api, backend, sample, status_page):
    names = [sample[n % len(sample)].picture.name for n in range(WAITING)]
    tasks = api.add_tasks(project, [(name, f"the ball {n}") for n, name in enumerate(names)])
    title = f"{project} {api.ask('GET', f'/api/projects/{project}/')['title']}"
    row(status_page, "Projects", title).get_by_role("button", name="Cancel waiting").click()
    eventually(lambda: not any(sum(depth.values()) for depth in backend.shared.backlog.depths().values()))
    cancelled = [entry for entry in backend.shared.ledger.failures.newest() if entry["project"] == str(project)]
    assert cancelled
    assert {entry["message"] for entry in cancelled} == {"cancelled."}
    eventually(lambda: sum(api.per_task(project)) == len(tasks) - len(cancelled))
    group = section(status_page, "Failed tasks").locator("tbody tr").filter(has_text="cancelled.").first
    group.get_by_text(str(len(cancelled)), exact=True).wait_for()
    section(status_page, "Failed tasks").locator("summary").click()
    row(status_page, "Failed tasks", title, cancelled[0]["task"]).wait_for()


def test_the_page_is_for_those_who_know_the_password(backend):
    for path in ("", "/status", "/metrics"):
        answer = httpx.get(f"{backend.address}{path}", headers={"Accept": "text/html"}, trust_env=False)
        assert answer.status_code == 401, path
