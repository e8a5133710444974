"""Where the server listens, read from TorchServe's `config.properties`."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import ServingError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as the start of an HTTP URL."""
        return f"http://{self}"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The five addresses of one server."""

    inference: Endpoint
    management: Endpoint
    metrics: Endpoint
    grpc_inference: Endpoint
    grpc_management: Endpoint

    def __iter__(self) -> Iterator[Endpoint]:
        return (getattr(self, field.name) for field in fields(self))

    @classmethod
    def from_file(cls, path: Path) -> "ServerConfig":
        """Read a properties file; raises ServingError where an address is missing or malformed."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ServingError(f"{path} cannot be read: {error.strerror}") from None
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
        values = {key.strip(): value.strip() for key, value in pairs}
        try:
            return cls(
                inference=_http(values["inference_address"]),
                management=_http(values["management_address"]),
                metrics=_http(values["metrics_address"]),
                grpc_inference=Endpoint(values["grpc_inference_address"], int(values["grpc_inference_port"])),
                grpc_management=Endpoint(
                    values["grpc_management_address"], int(values["grpc_management_port"])
                ),
            )
        except KeyError as error:
            raise ServingError(f"{path} lacks {error.args[0]}") from None
        except ValueError as error:
            raise ServingError(f"{path}: {error}") from None


def _http(address: str) -> Endpoint:
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{address!r} is not http://HOST:PORT")
    return Endpoint(parts.hostname, parts.port)
