"""TorchServe's management API, for the versions of one model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import requests

from serving.access import access_key
from serving.config import ServerConfig
from serving.errors import ServingError

TIMEOUT = 60  # s; of DELETE, which waits until the workers have ended
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version."""

    version: str
    file: str  # in the store
    wanted: int  # workers
    ready: int  # workers that have loaded the model
    pids: tuple[int, ...]  # of all workers that run

    def processes(self) -> list[psutil.Process]:
        """Return its workers that are alive."""
        return [psutil.Process(pid) for pid in self.pids if psutil.pid_exists(pid)]


@dataclass(frozen=True, slots=True)
class Management:
    """What can be asked of the server that runs in `root`, and done to it, for the model `name`.

    All raise ServingError with the call and the server's words where it refuses. `dry`: changes are
    told to `say`, and not made.
    """

    root: Path
    config: ServerConfig
    name: str
    say: Say
    dry: bool = False

    def versions(self) -> dict[str, Version]:
        """List the registered versions."""
        described = self._call("GET", f"/models/{self.name}/all").json()
        return {one.version: one for one in map(_version, described)}

    def default(self) -> str:
        """Return the version that answers those who ask for none."""
        [described] = self._call("GET", f"/models/{self.name}").json()
        return str(described["modelVersion"])

    def register(self, file: str) -> None:
        """Register an archive of the store; as many workers as it says start in the background."""
        self._change(
            "POST", "/models", url=file, model_name=self.name, initial_workers=1, synchronous="false"
        )

    def set_default(self, version: str) -> None:
        """Have a version answer from now on; what waits for another one is still answered by that."""
        self._change("PUT", f"/models/{self.name}/{version}/set-default")

    def scale(self, version: str, workers: int) -> None:
        """Ask for so many workers; they start in the background, and the youngest end first."""
        self._change(
            "PUT",
            f"/models/{self.name}/{version}",
            min_worker=workers,
            max_worker=workers,
            synchronous="false",
        )

    def unregister(self, version: str) -> None:
        """End a version's workers; what they have in hand is lost."""
        self._change("DELETE", f"/models/{self.name}/{version}")

    def _change(self, method: str, path: str, **parameters: str | int) -> None:
        if self.dry:
            self.say(f"{method} {path}{'?' if parameters else ''}{urlencode(parameters)}")
        else:
            self._call(method, path, parameters)

    def _call(
        self, method: str, path: str, parameters: Mapping[str, str | int] | None = None
    ) -> requests.Response:
        endpoint = self.config.management
        headers = {"Authorization": f"Bearer {access_key(self.root, 'management', endpoint)}"}
        try:
            answer = requests.request(
                method, f"{endpoint.url}{path}", params=parameters, headers=headers, timeout=TIMEOUT
            )
        except requests.ConnectionError:
            raise ServingError(f"no server answers at {endpoint}: `make serve` starts it") from None
        except requests.RequestException as error:
            raise ServingError(f"{method} {path}: {error}") from None
        if not answer.ok:
            try:
                said = answer.json()["message"]
            except (ValueError, KeyError, TypeError):
                said = answer.reason
            raise ServingError(f"{method} {path}: {answer.status_code} {said}")
        return answer


def _version(described: Mapping[str, Any]) -> Version:
    workers = described["workers"]
    return Version(
        version=str(described["modelVersion"]),
        file=str(described["modelUrl"]),
        wanted=int(described["minWorkers"]),
        ready=sum(worker["status"] == "READY" for worker in workers),
        pids=tuple(int(worker["pid"]) for worker in workers if int(worker["pid"]) > 0),
    )
