"""docker-py against the engine that DOCKER_HOST names.

    python3 -m venv env && env/bin/pip install docker
    eval "$(wherry docker-env)"
    env/bin/python tests/clients/docker_py.py IMAGE

IMAGE has a shell with cat, sleep and sh; it must be there already.
"""

import io
import sys
import tarfile
import time

import docker


def archive(name, data):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def until(what, condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def lifecycle(client, image):
    assert client.containers.run(image, ["echo", "hi"], remove=True) == b"hi\n"
    container = client.containers.run(
        image,
        ["sh", "-c", "echo a; echo b >&2; sleep 1000"],
        detach=True,
        name="docker-py",
        labels={"of": "docker-py"},
        mem_limit="64m",
        ports={"80/tcp": None},
        environment={"Q": "1"},
        volumes={"docker-py": {"bind": "/data", "mode": "rw"}},
        healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000},
    )
    try:
        until("output", lambda: container.logs() in (b"a\nb\n", b"b\na\n"))
        assert container.logs(stderr=False) == b"a\n"
        assert container.attrs["HostConfig"]["Memory"] == 64 << 20
        code, (out, err) = container.exec_run(
            ["sh", "-c", "echo in; echo er >&2; exit 3"], demux=True
        )
        assert (code, out, err) == (3, b"in\n", b"er\n"), (code, out, err)
        hijacked = container.exec_run(["cat"], stdin=True, socket=True).output
        hijacked._sock.sendall(b"half-closed")
        hijacked._sock.shutdown(1)
        assert hijacked.read() == b"\x01\0\0\0\0\0\0\x0bhalf-closed"
        assert "PID" in container.top()["Titles"]
        assert container.stats(stream=False)["pids_stats"]["current"] >= 1
        assert container.put_archive("/tmp", archive("file", b"abc"))
        parts, stat = container.get_archive("/tmp/file")
        assert stat["size"] == 3 and stat["mtime"].startswith("1970-01-01")
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
            assert tar.extractfile("file").read() == b"abc"
        assert {"Path": "/tmp/file", "Kind": 1} in container.diff()
        container.rename("docker-py-2")
        container.pause()
        container.unpause()
        container.update(mem_limit="128m", memswap_limit="256m")
        container.restart(timeout=0)

        def healthy():
            container.reload()
            return container.attrs["State"]["Health"]["Status"] == "healthy"

        until("health", healthy)
        made = container.commit("docker-py", "1")
        assert made.tags == ["docker-py:1"]
        client.images.remove("docker-py:1")
        networks(client, container)
        container.stop(timeout=0)
        assert container.wait()["StatusCode"] == 137
    finally:
        container.remove(v=True, force=True)
    client.volumes.get("docker-py").remove()


def networks(client, container):
    pool = docker.types.IPAMPool(subnet="10.77.0.0/24")
    network = client.networks.create(
        "docker-py", ipam=docker.types.IPAMConfig(pool_configs=[pool])
    )
    try:
        network.connect(container, aliases=["alias"], ipv4_address="10.77.0.9")
        network.reload()
        assert [member.id for member in network.containers] == [container.id]
        network.disconnect(container)
    finally:
        network.remove()


def images(client, image):
    found = client.images.get(image)
    assert found.history()
    data = b"".join(found.save(named=True))
    assert image in client.images.load(data)[0].tags
    assert client.images.list(image)


def failures(client, image):
    for call, error in [
        (lambda: client.containers.get("nope"), docker.errors.NotFound),
        (lambda: client.images.get("nope/x:1"), docker.errors.ImageNotFound),
        (lambda: client.volumes.get("nope"), docker.errors.NotFound),
        (lambda: client.networks.get("nope"), docker.errors.NotFound),
    ]:
        try:
            call()
        except error:
            continue
        raise AssertionError(error)
    try:
        client.containers.run(image, ["sh", "-c", "exit 3"], remove=True)
    except docker.errors.ContainerError as error:
        assert error.exit_status == 3
    else:
        raise AssertionError("no error")
    name = "docker-py-missing"
    try:
        client.containers.run(image, ["/nope"], name=name)
    except docker.errors.APIError as error:
        assert error.status_code == 400, error
    else:
        raise AssertionError("no error")
    client.containers.get(name).remove()


def main():
    client = docker.from_env()
    assert client.ping() and client.version()["Os"] == "linux"
    image = sys.argv[1]
    for part in (lifecycle, images, failures):
        part(client, image)
        print("ok", part.__name__)


main()
