"""The docker command in a container that mounts the engine's socket, as CI runners, dashboards and reapers do."""

import os
import shutil
import subprocess
import tempfile

from support import STACK, docker, equal, holds, run, steps

folder = tempfile.mkdtemp(prefix="socket-", dir=os.environ.get("CLIENTS_FOLDER"))
SOCKET = "/var/run/docker.sock:/var/run/docker.sock"


def pack():
    """Copies the command and what it is linked with, and returns how it is called."""
    program = shutil.which("docker")
    shutil.copy(program, f"{folder}/docker")
    loader = None
    linked = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    for path in (word for word in linked.split() if word.startswith("/")):
        shutil.copy(path, folder)
        if os.path.basename(path).startswith("ld-"):
            loader = os.path.basename(path)
    return f"/tools/{loader} --library-path /tools /tools/docker" if loader else "/tools/docker"


def inside(script, *options):
    return docker("run", "--rm", "-v", f"{folder}:/tools:ro", "-v", SOCKET, *options, STACK, "sh", "-c",
                  script.replace("DOCKER", pack()))


def made():
    """run, exec, logs and rm from inside are those of the engine outside"""
    inside(f"DOCKER run -d --name socket-made --label made=inside {STACK} sh -c 'echo from inside; sleep 1000'")
    equal(docker("ps", "--filter", "label=made=inside", "--format", "{{.Names}}"), "socket-made\n")
    equal(inside("echo through | DOCKER exec -i socket-made cat"), "through\n")
    holds("from inside", inside("DOCKER logs socket-made"))
    inside("DOCKER rm -f socket-made")
    equal(docker("ps", "-aq", "--filter", "label=made=inside"), "")


def reaped():
    """what a label finds is removed from inside, as a reaper does"""
    names = [f"socket-{number}" for number in range(3)]
    for name in names:
        docker("create", "--name", name, "--label", "session=1", STACK, "true")
    inside("DOCKER rm -f $(DOCKER ps -aq --filter label=session=1)")
    equal(docker("ps", "-aq", "--filter", "label=session=1"), "")


def followed():
    """events and their end reach a container"""
    told = inside("DOCKER events --since 0 --until $(($(date +%s) + 1)) --filter container=socket-0 --format '{{.Action}}'")
    holds("destroy", told)


def cleaned():
    """nothing is left"""
    run("docker", "rm", "-f", "socket-made", *[f"socket-{number}" for number in range(3)])
    shutil.rmtree(folder)


steps(made, reaped, followed, cleaned)
