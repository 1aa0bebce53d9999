"""TASKS_CREATED and PROJECT_UPDATED: which of Label Studio's webhooks are believed, and what is done about them.

Label Studio's own webhook brings no password. So where tasks can be fetched from Label Studio, a webhook is a hint:
only the numbers in it are used, and without the password only those of projects that have connected this backend, and
within bounds.
"""

from fastapi import Request

from backend.delivery.answered import Answered
from backend.delivery.known_projects import KnownProjects
from backend.delivery.schedule import Schedule
from backend.queue.priorities import Priority
from backend.queue.shared_state import SharedState
from backend.settings import Settings
from backend.web.access import Access
from backend.web.bodies import HintBody, ProjectBody, RequestError, parse

__all__ = ["AUTOMATIC_PAGES", "HINT_MAX_BYTES", "LOOK_PAUSE", "Webhook"]

HINT_MAX_BYTES = 32 * 2**20  # of a webhook without password
LOOK_PAUSE = 60  # seconds between two looks through a project that nobody with a password asked for
AUTOMATIC_PAGES = 100  # of 100 tasks each that are looked through unasked
MAX_HINTS = 10_000  # jobs of up to 100 tasks each that may wait


class Webhook:
    """The trust rules of /webhook."""

    def __init__(self, shared: SharedState, settings: Settings, access: Access) -> None:
        self._backlog = shared.backlog
        self._notes = Answered(shared.keyspace)
        self._projects = KnownProjects(shared.keyspace)
        self._schedule = Schedule(shared.jobs)
        self._settings = settings
        self._access = access

    def is_trusted(self, request: Request) -> bool:
        """Whether the request has the password. Raises RequestError if it brings a wrong one, or needs one: what is
        said about tasks has to be believed where they cannot be fetched."""
        if self._settings.writes_back and "Authorization" not in request.headers and not self._access.is_open:
            return False
        self._access.check_password(request)
        return True

    def follow(self, raw: bytearray, trusted: bool) -> None:
        """Have the tasks fetched from Label Studio. Raises RequestError if the hint is not followed."""
        hint = parse(HintBody, raw)
        project = str(hint.project.id)
        if not trusted:
            self._check_hint(project)
        self._schedule.schedule_fetch(project, sorted({task.id for task in hint.tasks}), hint=True)

    def look_again(self, raw: bytearray, trusted: bool) -> None:
        """A project was changed: have its predictions looked through, at once if that was not done for LOOK_PAUSE, else
        after as long. Raises RequestError if the hint is not followed."""
        project = str(parse(ProjectBody, raw).project.id)
        if not trusted:
            self._check_hint(project)
        after = 0 if trusted or self._notes.may_look(project, LOOK_PAUSE) else LOOK_PAUSE
        self._schedule.schedule_look(project, most=AUTOMATIC_PAGES, after=after)

    def _check_hint(self, project: str) -> None:
        if project not in self._projects:
            remedy = "Connect the backend to the project in Label Studio, with BASIC_AUTH_USER and BASIC_AUTH_PASS."
            raise RequestError(403, "project", "it has not connected this backend.", remedy)
        if self._backlog.waiting(Priority.HINT) >= MAX_HINTS:
            remedy = "Run `refam-backend prelabel` for the project later."
            raise RequestError(503, "webhook", "too many new tasks wait to be fetched.", remedy)
