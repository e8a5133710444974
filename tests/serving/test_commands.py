"""`python -m serving` as people run it, and what it says when it cannot do its work."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from serving import process
from serving.access import KEY_FILE
from serving.config import ServerConfig
from serving.errors import ServingError
from serving.startup import check, failure, start
from serving.store import Archive
from serving.temporary import Server
from tests.serving.conftest import ROOT
from tests.tiny import photo


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "serving", "--name", "tiny", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def assert_refused(done: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """One line that says what is wrong, and a failure for the shell."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.png"
    path.write_bytes(photo(0))
    return path


def test_token_prints_the_key_and_nothing_else(server: Server) -> None:
    done = run(server.root, "token")
    assert (done.returncode, done.stdout, done.stderr) == (0, server.key() + "\n", "")
    another = run(server.root, "token", "--new").stdout
    assert another == server.key() + "\n" != done.stdout


def test_caption_prints_the_reply(server: Server, sample: Path) -> None:
    reply = requests.post(server.url, sample.read_bytes(), headers=server.headers(), timeout=10).json()
    for arguments in (["caption"], ["caption", "--grpc"]):
        done = run(server.root, *arguments, str(sample))
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == reply


def test_caption_sends_options(server: Server, sample: Path) -> None:
    options = {"num_beams": "3", "num_captions": "2"}
    photos = {"image": sample.read_bytes()}
    reply = requests.post(server.url, options, files=photos, headers=server.headers(), timeout=10).json()
    assert len(reply["captions"]) == 2
    given = [f"{name}={value}" for name, value in options.items()]
    for arguments in (["caption"], ["caption", "--grpc"]):
        assert json.loads(run(server.root, *arguments, str(sample), *given).stdout) == reply
    assert_refused(run(server.root, "caption", str(sample), "num_beams=99"), "num_beams: 99")


def test_options_may_stand_behind_a_switch(server: Server, sample: Path) -> None:
    reply = json.loads(run(server.root, "caption", str(sample), "--grpc", "num_captions=2").stdout)
    assert len(reply["captions"]) == 2
    for wrong, said in (("--gprc", "unrecognized arguments: --gprc"), ("beams", "'beams' is not NAME=VALUE")):
        done = run(server.root, "caption", str(sample), "--grpc", wrong)
        assert done.returncode == 2
        assert said in done.stderr


def test_a_lost_key_file_is_named_as_what_is_wrong(
    server: Server, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = server.root / KEY_FILE
    hidden = keys.rename(server.root / "hidden")
    try:
        for arguments in (["token"], ["caption", str(sample)]):
            assert_refused(run(server.root, *arguments), "the server runs, but its key_file.json is gone")
    finally:
        hidden.rename(keys)


def test_a_full_disk_is_named_as_what_is_wrong(
    new_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_folder()
    config = ServerConfig.from_file(folder / "config.properties")
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(
        ServingError, match=r"the disk is full: 0\.1 MB are free, and the models take 1\.\d MB"
    ):
        check(folder, config, [Archive.from_file(folder / "tiny.mar")])
    (folder / process.LOGS).mkdir(parents=True)
    (folder / process.LOGS / "server.log").write_text("java.io.IOException: No space left on device\n")
    assert failure(folder, "tiny.mar cannot be read").startswith("the disk is full: java.io.IOException")


def test_a_folder_that_cannot_be_written_to_is_named(
    new_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_folder()
    config = ServerConfig.from_file(folder / "config.properties")
    check(folder, config, [Archive.from_file(folder / "tiny.mar")])
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder or mode == os.R_OK)
    with pytest.raises(ServingError, match=rf"^{folder} cannot be written to, and TorchServe keeps "):
        check(folder, config, [Archive.from_file(folder / "tiny.mar")])


def test_check_says_whether_a_server_can_start(new_folder: Callable[[], Path], server: Server) -> None:
    folder = new_folder()
    (folder / "tiny.mar").unlink()
    done = run(folder, "check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (folder / "config.properties").write_text((server.root / "config.properties").read_text())
    assert_refused(run(folder, "check"), f"port {server.config.inference.port} is in use")


def test_caption_says_what_is_wrong(server: Server, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(22 * 2**20))
    assert_refused(run(server.root, "caption", "missing.jpg"), "missing.jpg", "No such file")
    assert_refused(run(server.root, "caption", str(broken)), "no photo that can be decoded")
    assert_refused(run(server.root, "caption", "--grpc", str(broken)), "no photo that can be decoded")
    assert_refused(run(server.root, "caption", str(large)), "larger than max_request_size")


def test_without_a_server_each_command_says_so(
    new_folder: Callable[[], Path], server: Server, sample: Path
) -> None:
    folder = new_folder()
    assert_refused(run(folder, "token"), "is the server running?")
    assert_refused(run(folder, "caption", str(sample)), "is the server running?")
    assert run(folder, "stop").stdout == "no server is running\n"
    # A key file that a killed server left behind.
    keys = (server.root / KEY_FILE).read_text()
    (folder / KEY_FILE).write_text(keys)
    assert_refused(run(folder, "caption", str(sample)), "no server answers at")
    assert_refused(run(folder, "caption", "--grpc", str(sample)), "UNAVAILABLE")
    (folder / KEY_FILE).write_text(keys.replace('expiration time": "2', 'expiration time": "1'))
    assert_refused(run(folder, "token"), "has to be renewed and no server answers")


def test_what_keeps_a_server_from_starting(
    new_folder: Callable[[], Path], server: Server, sample: Path
) -> None:
    arguments = ("start", "--sample", str(sample))
    assert_refused(run(server.root, *arguments), "running already")
    folder = new_folder()
    assert_refused(run(folder, "start", "--sample", "missing.jpg"), "missing.jpg", "No such file")
    config = folder / "config.properties"
    good = config.read_text()
    config.write_text((server.root / "config.properties").read_text())
    assert_refused(run(folder, *arguments), f"port {server.config.inference.port} is in use")
    config.write_text(good.replace("inference_address", "inference_adress", 1))
    assert_refused(run(folder, *arguments), "config.properties lacks inference_address")
    config.write_text(good.replace("http://127.0.0.1", "127.0.0.1", 1))
    assert_refused(run(folder, *arguments), "is not http://HOST:PORT")
    config.write_text(good)
    (folder / "tiny.mar").unlink()
    assert_refused(run(folder, *arguments), "tiny.mar does not exist", "make archive")
    config.unlink()
    assert_refused(run(folder, *arguments), "config.properties", "No such file")
    assert not (folder / process.FOLDER).exists()


def test_a_model_that_cannot_be_loaded_is_reported_and_nothing_stays(
    new_folder: Callable[[], Path], archive: Path, sample: Path
) -> None:
    folder = new_folder()
    with zipfile.ZipFile(archive) as good, zipfile.ZipFile(folder / "tiny.mar", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b"dtype: float32", b"dtype: int8"))
    done = run(folder, "start", "--sample", str(sample))
    assert_refused(done, "cannot be loaded", "SettingsError: captioner.dtype is 'int8'", "logs/model.log")
    assert process.find(folder) is None
    assert not (folder / KEY_FILE).exists()


def test_a_damaged_archive_is_reported_and_nothing_stays(
    new_folder: Callable[[], Path], sample: Path
) -> None:
    folder = new_folder()
    content = bytearray((folder / "tiny.mar").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "tiny.mar").write_bytes(content)
    done = run(folder, "start", "--sample", str(sample))
    assert_refused(done, "tiny.mar cannot be read", "ZipException: invalid entry CRC", "logs/server.log")
    assert process.find(folder) is None


def arrived(server: Server) -> int:
    """How many requests TorchServe has taken so far."""
    text = requests.get(f"{server.config.metrics.url}/metrics", timeout=10).text
    counts = re.findall(r"^ts_inference_requests_total\{.*\} ([\d.]+)$", text, re.MULTILINE)
    return sum(int(float(count)) for count in counts)


def test_start_shows_a_caption_and_stop_lets_requests_finish(
    new_folder: Callable[[], Path], sample: Path
) -> None:
    folder = new_folder()
    started = run(folder, "start", "--sample", str(sample))
    assert (started.returncode, started.stderr) == (0, "")
    server = Server(folder, "tiny", ServerConfig.from_file(folder / "config.properties"), 0)
    caption = json.loads(run(folder, "caption", str(sample)).stdout)["caption"]
    assert f"{sample}: {caption} (score " in started.stdout
    assert server.url in started.stdout

    headers = server.headers()
    before = arrived(server)
    with ThreadPoolExecutor(42) as pool:
        pending = [
            pool.submit(requests.post, server.url, photo(seed), headers=headers, timeout=60)
            for seed in range(40)
        ]
        while arrived(server) < before + 40:
            time.sleep(0.01)
        stopping = pool.submit(run, folder, "stop")
        while (late := requests.post(server.url, photo(0), headers=headers, timeout=60)).ok:
            time.sleep(0.01)
        stopped = stopping.result()
        assert late.json()["type"] == "InvalidKeyException"
        assert [reply.result().status_code for reply in pending] == [200] * 40
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "stopped\n", "")
    assert process.find(folder) is None
    assert not (folder / KEY_FILE).exists()


def test_a_server_that_does_not_caption_is_ended(new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    done = run(folder, "start", "--sample", "config.properties")
    assert_refused(done, "no photo that can be decoded")
    assert process.find(folder) is None


def test_an_interrupt_while_starting_ends_the_server(new_folder: Callable[[], Path]) -> None:
    folder = new_folder()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(folder, Path("config.properties"), [Archive.from_file(folder / "tiny.mar")], interrupt)
    assert process.find(folder) is None
