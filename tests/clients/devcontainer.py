"""A dev container, as VS Code makes one: the devcontainer command."""

import json
import os
import shutil
import tempfile

from support import STACK, docker, equal, holds, run, steps

folder = tempfile.mkdtemp(prefix="devcontainer-", dir=os.environ.get("CLIENTS_FOLDER"))
container = None


def devcontainer(*arguments):
    return run("devcontainer", arguments[0], "--workspace-folder", folder, *arguments[1:])


def made():
    """up makes the container and runs its commands"""
    global container
    os.mkdir(os.path.join(folder, ".devcontainer"))
    with open(os.path.join(folder, ".devcontainer", "devcontainer.json"), "w") as file:
        json.dump({
            "name": "books",
            "image": STACK,
            "remoteUser": "root",
            # The user of the image stays as it is; otherwise an image is built.
            "updateRemoteUserUID": False,
            "containerEnv": {"INSIDE": "yes"},
            "postCreateCommand": "echo made > made",
            "mounts": ["source=devcontainer-cache,target=/cache,type=volume"],
            "runArgs": ["--cap-add=SYS_PTRACE"],
        }, file)
    outcome = json.loads(devcontainer("up").splitlines()[-1])
    equal(outcome["outcome"], "success")
    container = outcome["containerId"]
    with open(os.path.join(folder, "made")) as file:
        equal(file.read(), "made\n")


def used():
    """exec runs in the folder, with the environment"""
    equal(devcontainer("exec", "sh", "-c", "echo $INSIDE; basename $PWD"), f"yes\n{os.path.basename(folder)}\n")
    holds("devcontainer.local_folder", docker("inspect", "--format", "{{json .Config.Labels}}", container))


def found():
    """up finds the container again, a stopped one too"""
    docker("stop", "--time", "1", container)
    equal(json.loads(devcontainer("up").splitlines()[-1])["containerId"], container)
    holds("yes", devcontainer("exec", "env"))


try:
    steps(made, used, found)
finally:
    if container:
        docker("rm", "--force", container)
        docker("volume", "rm", "devcontainer-cache")
    shutil.rmtree(folder)
