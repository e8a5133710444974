"""Where the server listens, read from TorchServe's `config.properties`."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import ServingError

MOST_MINUTES = 525_600  # a year


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
    """The five addresses of one server, over which it iterates, and for how long its keys are valid."""

    inference: Endpoint
    management: Endpoint
    metrics: Endpoint
    grpc_inference: Endpoint
    grpc_management: Endpoint
    key_life: float = 3600.0  # s; TorchServe's own default

    def __iter__(self) -> Iterator[Endpoint]:
        values = (getattr(self, field.name) for field in fields(self))
        return (value for value in values if isinstance(value, Endpoint))

    @classmethod
    def from_file(cls, path: Path) -> "ServerConfig":
        """Read a properties file; raises ServingError for what is missing or malformed."""
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
                key_life=60 * _minutes(values["token_expiration_min"]),
            )
        except KeyError as error:
            raise ServingError(f"{path} lacks {error.args[0]}") from None
        except ValueError as error:
            raise ServingError(f"{path}: {error}") from None


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= MOST_MINUTES:
        raise ValueError(f"token_expiration_min={text} is not above 0 and at most {MOST_MINUTES}, a year")
    return minutes


def _http(address: str) -> Endpoint:
    parts = urlsplit(address)
    if parts.hostname is None or parts.port is None:
        raise ValueError(f"{address!r} is not http://HOST:PORT")
    return Endpoint(parts.hostname, parts.port)
