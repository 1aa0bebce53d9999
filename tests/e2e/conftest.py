"""For all tests: one real Label Studio, one backend with embedded model and basic authentication, one Chromium."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from backend.demo.local_studio import LocalStudio, connect_backend, make_project, studio_running
from backend.demo.programs import backend_running, free_port
from backend.demo.sample import SampleTask, write_sample
from backend.queue.connection import connect
from backend.queue.shared_state import SharedState
from backend.settings import PREFIX, Settings, variables
from refam.pipeline import RefAM
from tests.e2e.api import Api, api_of
from tests.e2e.editor import Editor
from tests.e2e.running import CONFIG, PASSWORD, PATIENCE, PICTURES, REFUSED, SCREENSHOTS, USER, eventually


@dataclass(frozen=True)
class Backend:
    """The running backend: its address, its settings, its variables, and what it keeps in Redis."""

    address: str
    settings: Settings
    variables: dict[str, str]
    shared: SharedState


@pytest.fixture(scope="session", autouse=True)
def environment() -> Iterator[None]:
    """No settings of the machine that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("REFAM_") or name in variables()]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def studio(environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStudio]:
    folder = tmp_path_factory.mktemp("studio")
    with studio_running(folder, free_port(), USER_ADDITIONAL_BANNED_SUBNETS=f"{REFUSED}/32") as studio:
        yield studio


@pytest.fixture(scope="session")
def token(studio: LocalStudio) -> str:
    """A personal access token."""
    return str(studio.api.post("/api/token/", {})["token"])


@pytest.fixture(scope="session")
def s3_port() -> int:
    """Port of the S3 server, whose private address the backend must be told of."""
    return free_port()


@pytest.fixture(scope="session")
def backend(
    studio: LocalStudio, token: str, s3_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    settings = {
        "LABEL_STUDIO_URL": studio.url,
        "LABEL_STUDIO_API_KEY": token,
        "BASIC_AUTH_USER": USER,
        "BASIC_AUTH_PASS": PASSWORD,
        f"{PREFIX}STATE_DIR": str(folder),
        f"{PREFIX}PORT": str(free_port()),
        f"{PREFIX}IMAGE_HOSTS": f"*,127.0.0.1:{s3_port}",
    }
    with backend_running(settings, folder / "backend.log") as address:
        own = Settings.model_validate(settings)
        with closing(connect(own)) as connection:
            shared = SharedState.over(connection, own)
            eventually(lambda: bool(shared.fleet.workers()))
            yield Backend(address, own, settings, shared)


@pytest.fixture(scope="session")
def sample(studio: LocalStudio) -> list[SampleTask]:
    """Pictures with texts, which Label Studio serves as local files."""
    return write_sample(studio.files, PICTURES)


@pytest.fixture(scope="session")
def refam(environment: None) -> RefAM:
    """The model that the backend's worker runs, too."""
    return RefAM.from_config(Settings().refam)  # type: ignore[call-arg]


@pytest.fixture(scope="session")
def api(studio: LocalStudio) -> Iterator[Api]:
    with api_of(studio, PATIENCE) as api:
        yield api


@pytest.fixture
def unconnected(studio: LocalStudio, request: pytest.FixtureRequest) -> int:
    """A project of the test's own, without a backend."""
    return make_project(studio, request.node.name[:50], CONFIG)


@pytest.fixture
def join(studio: LocalStudio, backend: Backend) -> Callable[[int], None]:
    """Connects the backend to a project."""
    return lambda project: connect_backend(studio, project, backend.address, USER, PASSWORD)


@pytest.fixture
def project(unconnected: int, join: Callable[[int], None]) -> int:
    """A project of the test's own, with the backend connected."""
    join(unconnected)
    return unconnected


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is missing: `make e2e` installs it."
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def page(browser: Browser, studio: LocalStudio) -> Page:
    """A page of somebody who has logged in."""
    page = browser.new_page(viewport={"width": 1300, "height": 950})
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{studio.url}/user/login")
    page.fill("input[name=email]", studio.email)
    page.fill("input[name=password]", studio.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/user/login" not in url)
    page.evaluate("localStorage.setItem('autoAnnotation', 'true')")
    return page


@pytest.fixture
def editor(page: Page, studio: LocalStudio, request: pytest.FixtureRequest) -> Iterator[Editor]:
    """Label Studio's editor; a screenshot of how it was left is taken."""
    yield Editor(page, studio.url)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png")
