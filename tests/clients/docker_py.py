"""docker-py, the library that most Python programs drive Docker with."""

import io
import tarfile

import docker
from docker.types import Healthcheck, Mount

from support import STACK, equal, holds, steps, until

client = docker.from_env(version="auto", timeout=180)


def known():
    """ping, version, info, df"""
    assert client.ping()
    equal(client.info()["OSType"], "linux")
    assert {"Images", "Containers", "Volumes"} <= set(client.df())


def ran():
    """run returns the output, and raises what failed"""
    equal(client.containers.run(STACK, "echo hi", remove=True), b"hi\n")
    try:
        client.containers.run(STACK, ["sh", "-c", "echo bad >&2; exit 4"], remove=True)
    except docker.errors.ContainerError as error:
        equal((error.exit_status, error.stderr), (4, b"bad\n"))
    else:
        raise AssertionError("the failure was not raised")
    try:
        # Nobody listens there.
        client.containers.run("localhost:1/no-such-image:none")
    except docker.errors.APIError:
        return
    raise AssertionError("an unknown image ran")


def lived():
    """a container's whole life"""
    container = client.containers.create(
        STACK, "sleep 1000", name="py-life", environment={"A": "b"}, labels={"py": "yes"}, mem_limit="64m",
        healthcheck=Healthcheck(test=["CMD", "true"], interval=1_000_000_000), cap_add=["NET_ADMIN"],
        mounts=[Mount("/data", "py-volume")], ulimits=[docker.types.Ulimit(name="nofile", soft=64, hard=64)])
    container.start()
    equal([other.name for other in client.containers.list(filters={"label": "py=yes"})], ["py-life"])
    code, output = container.exec_run(["sh", "-c", "echo $A; ulimit -n"])
    equal((code, output), (0, b"b\n64\n"))
    code, (out, err) = container.exec_run(["sh", "-c", "echo o; echo e >&2; exit 3"], demux=True)
    equal((code, out, err), (3, b"o\n", b"e\n"))
    until("it is healthy", lambda: (container.reload(), container.attrs["State"]["Health"]["Status"] == "healthy")[1])
    container.pause()
    container.unpause()
    assert container.stats(stream=False)["memory_stats"]["usage"] > 0
    assert container.top()["Processes"]
    container.rename("py-renamed")
    container.restart(timeout=0)
    container.stop(timeout=0)
    equal(container.wait()["StatusCode"], 137)
    container.remove(v=True)


def streamed():
    """logs, attach and events as they come"""
    events = client.events(decode=True, filters={"container": "py-stream"})
    container = client.containers.run(STACK, ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 1; done"],
                                      name="py-stream", detach=True)
    equal(b"".join(container.logs(stream=True)), b"1\n2\n3\n")
    container.wait()
    container.remove()
    seen = []
    for event in events:
        seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    equal([action for action in seen if action in ("create", "start", "die", "destroy")],
          ["create", "start", "die", "destroy"])
    events.close()


def spoken():
    """standard input through a hijacked connection"""
    container = client.containers.create(STACK, "cat", stdin_open=True, name="py-cat")
    socket = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    socket._sock.sendall(b"spoken\n")
    socket._sock.shutdown(1)
    container.wait(timeout=60)
    equal(container.logs(), b"spoken\n")
    socket.close()
    container.remove()


def archived():
    """archives into and out of a container"""
    container = client.containers.create(STACK, "true", name="py-archive")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tree:
        entry = tarfile.TarInfo("note")
        entry.size = 4
        tree.addfile(entry, io.BytesIO(b"text"))
    assert container.put_archive("/tmp", archive.getvalue())
    chunks, stat = container.get_archive("/tmp/note")
    equal((stat["name"], stat["size"]), ("note", 4))
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tree:
        equal(tree.extractfile("note").read(), b"text")
    equal(container.diff()[0]["Path"], "/tmp")
    image = container.commit("py/committed", "1", changes="ENV A=b")
    holds("A=b", image.attrs["Config"]["Env"])
    container.remove()
    client.images.remove("py/committed:1")


def imaged():
    """images"""
    image = client.images.get(STACK)
    assert image.tag("py/tagged", "1")
    archive = b"".join(client.images.get("py/tagged:1").save(named=True))
    client.images.remove("py/tagged:1")
    equal(client.images.load(archive)[0].tags.count("py/tagged:1"), 1)
    assert image.history()
    client.images.remove("py/tagged:1")
    try:
        client.images.get("py/tagged:1")
    except docker.errors.ImageNotFound:
        return
    raise AssertionError("the image is still there")


def networked():
    """networks and volumes"""
    network = client.networks.create("py-net", labels={"py": "yes"}, internal=True)
    server = client.containers.run(STACK, "redis-server --protected-mode no", name="py-server", detach=True)
    network.connect(server, aliases=["friend"])
    until("the peer answers", lambda: b"PONG" in client.containers.run(
        STACK, "sh -c 'redis-cli -h friend ping; true'", network="py-net", remove=True))
    network.reload()
    equal([member.name for member in network.containers], ["py-server"])
    network.disconnect(server)
    server.remove(force=True)
    network.remove()
    volume = client.volumes.create("py-made", labels={"py": "yes"})
    equal([other.name for other in client.volumes.list(filters={"label": "py=yes"})], ["py-made"])
    volume.remove()


def published():
    """ports"""
    server = client.containers.run(STACK, "redis-server --protected-mode no", name="py-server", detach=True,
                                   ports={"6379/tcp": ("127.0.0.1", None)})
    server.reload()
    binding = server.ports["6379/tcp"][0]
    equal(binding["HostIp"], "127.0.0.1")
    assert int(binding["HostPort"]) > 0
    server.remove(force=True)


def clear():
    for name in ("py-life", "py-renamed", "py-stream", "py-cat", "py-archive", "py-server"):
        try:
            client.containers.get(name).remove(force=True, v=True)
        except docker.errors.NotFound:
            pass
    for kind, name in ((client.networks, "py-net"), (client.volumes, "py-made")):
        try:
            kind.get(name).remove()
        except docker.errors.NotFound:
            pass


clear()
try:
    steps(known, ran, lived, streamed, spoken, archived, imaged, networked, published)
finally:
    clear()
