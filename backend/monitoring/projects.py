"""How far the projects are that had tasks lately."""

from backend.queue.progress import ProjectState
from backend.queue.shared_state import SharedState

__all__ = ["project_states"]


def project_states(shared: SharedState) -> list[ProjectState]:
    """The newest project first.

    A few waiting tasks of each are checked: their job may have ended while nobody was there to say so.
    """
    progress = shared.ledger.progress
    projects = progress.projects()
    for project in projects:
        drawn = progress.sample(project)
        ended = shared.jobs.have_ended(list(drawn.values()))
        progress.forget(project, [task for task, over in zip(drawn, ended, strict=True) if over])
    return [progress.state(project) for project in projects]
