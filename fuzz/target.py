"""The server under test: what a case is sent to, and what its worker process is seen doing from outside."""

import http.client
import threading
from dataclasses import dataclass, field

import grpc
import psutil

from fuzz.case import MODEL, Case, Reply
from fuzz.judge import status_in
from serving import process
from serving.inference_pb2 import PredictionsRequest
from serving.inference_pb2_grpc import InferenceAPIsServiceStub
from serving.temporary import Server

TIMEOUT = 90
"""Seconds until a reply must be there: more than the 60 after which TorchServe ends a worker."""
WORKER = "model_service_worker.py"


@dataclass(frozen=True)
class Target:
    """A running server, and what keeps its key from being renewed twice at once."""

    server: Server
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, case: Case) -> Reply:
        """Send a case. Raises OSError, HTTPException or RpcError where no reply comes."""
        return self.ask_http(case) if case.inputs is None else self.ask_grpc(case)

    def ask_http(self, case: Case) -> Reply:
        """Send a case over a connection of its own."""
        connection = http.client.HTTPConnection(
            self.server.config.inference.host, self.server.config.inference.port, timeout=TIMEOUT
        )
        try:
            headers = {"Authorization": f"Bearer {self.key()}", **case.headers}
            connection.request("POST", case.path.replace(MODEL, self.server.name), case.body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())
        finally:
            connection.close()

    def ask_grpc(self, case: Case) -> Reply:
        """Send a case's inputs."""
        metadata = [("authorization", f"Bearer {self.key()}")]
        with grpc.insecure_channel(str(self.server.config.grpc_inference)) as channel:
            request = PredictionsRequest(model_name=self.server.name, input=case.inputs)
            answer = InferenceAPIsServiceStub(channel).Predictions(
                request, metadata=metadata, timeout=TIMEOUT
            )
        return Reply(status_in(answer.prediction), answer.prediction)

    def key(self) -> str:
        """Return a key that is valid now; one thread at a time, as it may be renewed."""
        with self.lock:
            return self.server.key()

    def worker(self) -> psutil.Process:
        """Return the one worker process."""
        server = process.find(self.server.root)
        if server is None:
            raise psutil.NoSuchProcess(0, "TorchServe")
        [worker] = [
            child
            for child in server.children(recursive=True)
            if any(WORKER in word for word in child.cmdline())
        ]
        return worker
