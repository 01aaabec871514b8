"""The hub: a bundle becomes a Space in one commit, and the commit before can be brought back.

`huggingface_hub` does the talking. Its `upload_folder` may spread a folder over several commits, so the commit is put
together here: visitors meet the old Space or the new one, and nothing between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake.console import err
from deepfake.detector import MODEL_FILE
from deepfake.errors import DeepfakeError
from deepfake.space.bundle import files

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

TOKENS = "https://huggingface.co/settings/tokens"
FRESH = {".gitattributes", "README.md"}  # what the hub puts into a new Space
SHORT = 200  # characters of what the hub says


class HubError(DeepfakeError):
    """The hub is out of reach, or does not do what is asked."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        url: The Space's address.
        commit: Id of the Space's newest commit.
        changed: Whether anything differed from what was there, so that the commit is new.
        deleted: Paths that were there and are in the bundle no more.
    """

    url: str
    commit: str
    changed: bool
    deleted: list[str]


class Space:
    """A Space on the hub, there or to be made.

    Example:
        >>> Space("ada/faces").push(Path("bundle"), "Deploy version 3").url
        'https://huggingface.co/spaces/ada/faces'
    """

    def __init__(self, name: str) -> None:
        """Check the name and the token.

        Args:
            name: `USER/SPACE`.

        Raises:
            HubError: If the name is none, or there is no token, or the hub does not know it or does not answer.
        """
        from huggingface_hub import HfApi, get_token
        from huggingface_hub.utils import disable_progress_bars, logging

        check_name(name)
        logging.set_verbosity_error()  # what goes wrong is told once, when it is final
        if not err.is_terminal:
            disable_progress_bars()
        self.name = name
        with _explained(name):
            token = get_token()
            if token is None:
                raise HubError(f"no token: set HF_TOKEN or run `hf auth login`; {TOKENS} makes one that may write")
            self._api = HfApi(token=token)
            self._api.whoami()  # not tried again and again as other calls are: no network is known at once

    @property
    def url(self) -> str:
        """The Space's address."""
        return f"{self._api.endpoint}/spaces/{self.name}"

    def push(self, folder: Path, message: str, private: bool = False) -> Pushed:
        """Make the Space hold a folder's files and no others, in one commit. If it breaks off, push again.

        Args:
            folder: A bundle.
            message: Of the commit.
            private: Whether a new Space is for its owner alone.

        Returns:
            What was done.

        Raises:
            HubError: If the hub does not take it, or the Space is public though `private` is asked, or it holds
                something else than a detector.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with _explained(self.name):
            # None leaves it to the owner's own default
            self._api.create_repo(
                self.name, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True
            )
            info = self._api.space_info(self.name)
            if private and not info.private:
                raise HubError(f"{self.name} is public: make it private at {self.url}/settings, then deploy again")
            there = set(self._files(info.sha))
            if there - FRESH and MODEL_FILE not in there:
                raise HubError(f"{self.name} holds something else, with no {MODEL_FILE}: choose another name")
            mine = files(folder)
            deleted = sorted(there - mine.keys())
            operations: list[Any] = [CommitOperationAdd(path, folder / path) for path in mine]
            operations += [CommitOperationDelete(path) for path in deleted]
            return Pushed(self.url, *self._commit(operations, message, info.sha), deleted)

    def rollback(self) -> str:
        """Bring back, in one commit, all files of the commit before the newest; once more, and it is undone.

        What is large stays on the hub: it is not sent from here.

        Returns:
            The title of the commit that is brought back.

        Raises:
            HubError: If there is no Space or no detector to go back to.
        """
        from huggingface_hub import CommitOperationCopy, CommitOperationDelete

        with _explained(self.name):
            newest, *older = self._api.list_repo_commits(self.name, repo_type="space")
            before = self._files(older[0].commit_id) if older else {}
            if MODEL_FILE not in before:
                raise HubError(f"{self.name} has nothing to go back to: no detector was there before")
            now = self._files(newest.commit_id)
            changed = [path for path in before if before[path] != now.get(path)]
            source = older[0].commit_id
            operations: list[Any] = [CommitOperationCopy(path, path, src_revision=source) for path in changed]
            operations += [CommitOperationDelete(path) for path in now.keys() - before.keys()]
            self._commit(operations, f"Roll back to {source[:8]}: {older[0].title}", newest.commit_id)
            return older[0].title

    def _files(self, revision: str | None) -> dict[str, str]:
        """Return the files of a revision and the ids of their contents."""
        tree = self._api.list_repo_tree(self.name, repo_type="space", recursive=True, revision=revision)
        return {entry.path: entry.blob_id for entry in tree if hasattr(entry, "blob_id")}

    def _commit(self, operations: list[Any], message: str, parent: str | None) -> tuple[str, bool]:
        """Commit, if nobody else did meanwhile; return the newest commit, and whether it is a new one."""
        commit = self._api.create_commit(
            self.name, operations, commit_message=message, repo_type="space", parent_commit=parent
        )
        return commit.oid, commit.oid != parent


def check_name(name: str) -> None:
    """Raise a `HubError` if a text is not the name of a Space."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        name = ""
    if name.count("/") != 1:
        raise HubError("a Space is named USER/SPACE, of letters, digits and single - _ . between them")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Say in a line what the hub, or the way to it, has against what is asked of a Space."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except HfHubHTTPError as error:
        raise HubError(_refusal(error, name)) from None
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        hint = "check the network, then give the same command again: it completes what is left"
        raise HubError(f"the hub was not reached, or broke off ({_short(reason)}): {hint}") from None


def _refusal(error: "HfHubHTTPError", name: str) -> str:
    status = error.response.status_code
    if status == 401 and "/whoami" in str(error.response.url):
        return f"the hub does not know this token (HF_TOKEN, or that of `hf auth login`): {TOKENS} makes a new one"
    if status in (401, 403, 404):
        return f"{name} is not there, or the token may not write to it: the owner should be you or your organisation"
    if status == 402:
        return f"the hub asks for a paid plan to make {name}: {_short(error.server_message or '')}"
    if status in (409, 412):
        return f"{name} was changed by somebody else meanwhile: give the same command again"
    return f"the hub answered {status}, not what was asked: {_short(error.server_message or '')}; try again later"


def _short(text: str) -> str:
    return " ".join(text.split())[:SHORT]
