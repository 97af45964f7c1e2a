"""The docker command: every subcommand that has meaning for one engine."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile

from support import PATIENCE, STACK, Follower, docker, equal, holds, inspect, run, steps, until

folder = tempfile.mkdtemp(prefix="docker-", dir=os.environ.get("CLIENTS_FOLDER"))
started = "cli-run", "cli-long", "cli-copy", "cli-tty", "cli-peer", "cli-made"


def known():
    """version and info are of one engine"""
    version = json.loads(docker("version", "--format", "json"))
    equal(version["Server"]["Os"], "linux")
    assert float(version["Server"]["ApiVersion"]) >= 1.44
    info = json.loads(docker("info", "--format", "json"))
    equal((info["OSType"], info["Swarm"]["LocalNodeState"]), ("linux", "inactive"))


def ran():
    """run: output, error, exit status, environment, standard input"""
    both = subprocess.run(
        ["docker", "run", "--rm", "-e", "A=b", STACK, "sh", "-c", "echo $A; echo bad >&2; exit 3"],
        capture_output=True, text=True, timeout=PATIENCE)
    equal((both.stdout, both.stderr, both.returncode), ("b\n", "bad\n", 3))
    equal(docker("run", "--rm", "-i", STACK, "cat", input="spoken"), "spoken")
    # Bytes that are no text, more than any buffer, both ways.
    bulk = os.urandom(3 << 20)
    done = subprocess.run(["docker", "run", "--rm", "-i", STACK, "cat"], input=bulk,
                          capture_output=True, timeout=PATIENCE)
    assert done.stdout == bulk, f"{len(done.stdout)} bytes came back of {len(bulk)}"
    docker("run", "--rm", STACK, "no-such-program", status=127)
    docker("run", "--rm", "--network", "no-such-network", STACK, status=125)


def lived():
    """create, start, ps, rename, pause, top, stats, update, restart, stop, wait, rm"""
    docker("create", "--name", "cli-made", "--label", "cli=yes", STACK, "sleep", "1000")
    equal(docker("ps", "--all", "--filter", "label=cli=yes", "--format", "{{.Names}} {{.State}}"), "cli-made created\n")
    docker("start", "cli-made")
    docker("rename", "cli-made", "cli-long")
    holds("Up", docker("ps", "--filter", "name=cli-long", "--format", "{{.Status}}"))
    holds("sleep 1000", docker("top", "cli-long"))
    docker("pause", "cli-long")
    holds("(Paused)", docker("ps", "--filter", "name=cli-long", "--format", "{{.Status}}"))
    docker("unpause", "cli-long")
    stats = json.loads(docker("stats", "--no-stream", "--format", "json", "cli-long"))
    assert stats["MemUsage"][0].isdigit() and stats["PIDs"] == "1", stats
    docker("update", "--memory", "64m", "--memory-swap", "64m", "cli-long")
    equal(inspect("cli-long")["HostConfig"]["Memory"], 64 << 20)
    docker("restart", "--time", "0", "cli-long")
    docker("rm", "cli-long", status=1)
    docker("stop", "--time", "0", "cli-long")
    equal(docker("wait", "cli-long").strip(), "137")
    docker("rm", "cli-long")
    docker("inspect", "cli-long", status=1)


def executed():
    """exec: output, environment, user, directory, standard input, exit status"""
    docker("run", "--detach", "--name", "cli-run", STACK, "sleep", "1000")
    equal(docker("exec", "-e", "A=b", "-w", "/tmp", "-u", "postgres", "cli-run", "sh", "-c", "echo $A; pwd; id -un"),
          "b\n/tmp\npostgres\n")
    equal(docker("exec", "-i", "cli-run", "cat", input="spoken"), "spoken")
    docker("exec", "cli-run", "sh", "-c", "exit 9", status=9)
    docker("exec", "cli-run", "no-such-program", status=127)
    docker("exec", "--detach", "cli-run", "touch", "/tmp/detached")
    until("the detached process has run", lambda: docker("exec", "cli-run", "ls", "/tmp/detached"))


def logged():
    """logs: both streams, tail, timestamps, since, follow to the end"""
    docker("run", "--detach", "--name", "cli-long", STACK, "sh", "-c",
           "echo one; echo two >&2; sleep 1; echo three; sleep 2; echo four")
    done = subprocess.run(["docker", "logs", "--follow", "cli-long"], capture_output=True, text=True, timeout=PATIENCE)
    equal((done.stdout, done.stderr), ("one\nthree\nfour\n", "two\n"))
    equal(docker("logs", "--tail", "1", "cli-long"), "four\n")
    holds("T", docker("logs", "--timestamps", "--tail", "1", "cli-long").split()[0])
    docker("rm", "cli-long")


def attached():
    """attach and start --attach --interactive"""
    docker("create", "--interactive", "--name", "cli-long", STACK, "cat")
    equal(docker("start", "--attach", "--interactive", "cli-long", input="spoken"), "spoken")
    docker("rm", "cli-long")


def terminal():
    """a terminal: exec -it and its size"""
    script = 'stty size; tty >/dev/null && echo yes'
    done = run("script", "-qec", f"stty rows 33 cols 77; docker run --rm -it {STACK} sh -c '{script}'", "/dev/null")
    holds("yes", done)
    done = run("script", "-qec", f"stty rows 33 cols 77; docker exec -it cli-run sh -c 'sleep 1; {script}'", "/dev/null")
    holds("33 77", done)


def copied():
    """cp both ways, diff, export, commit"""
    with open(os.path.join(folder, "note"), "w") as note:
        note.write("carried")
    docker("cp", os.path.join(folder, "note"), "cli-run:/tmp/note")
    equal(docker("exec", "cli-run", "cat", "/tmp/note"), "carried")
    docker("cp", "cli-run:/tmp/note", os.path.join(folder, "back"))
    with open(os.path.join(folder, "back")) as back:
        equal(back.read(), "carried")
    docker("cp", "cli-run:/no-such-file", folder, status=1)
    holds("A /tmp/note", docker("diff", "cli-run"))
    docker("export", "--output", os.path.join(folder, "all.tar"), "cli-run")
    with tarfile.open(os.path.join(folder, "all.tar")) as archive:
        equal(archive.extractfile("tmp/note").read(), b"carried")
    docker("commit", "--message", "with a note", "--change", "CMD cat /tmp/note", "cli-run", "cli/noted:1")
    equal(docker("run", "--rm", "cli/noted:1"), "carried")


def imaged():
    """images, tag, history, inspect, save, load, import, rmi"""
    docker("tag", "cli/noted:1", "cli/other:2")
    holds("with a note", docker("history", "cli/noted:1"))
    equal(docker("image", "inspect", "--format", "{{index .Config.Cmd 2}}", "cli/other:2").strip(), "cat /tmp/note")
    archive = os.path.join(folder, "image.tar")
    docker("save", "--output", archive, "cli/noted:1", "cli/other:2")
    docker("rmi", "cli/noted:1", "cli/other:2")
    docker("image", "inspect", "cli/noted:1", status=1)
    holds("cli/other:2", docker("load", "--input", archive))
    equal(docker("run", "--rm", "cli/other:2"), "carried")
    holds("cli/noted", docker("images", "--format", "{{.Repository}}:{{.Tag}}"))
    docker("rmi", "cli/noted:1", "cli/other:2")
    root = io.BytesIO()
    with tarfile.open(fileobj=root, mode="w") as tree:
        entry = tarfile.TarInfo("a-file")
        entry.size = 4
        tree.addfile(entry, io.BytesIO(b"text"))
    run("docker", "import", "--change", "ENV A=b", "-", "cli/imported", input=root.getvalue())
    equal(docker("image", "inspect", "--format", "{{.Config.Env}}", "cli/imported").strip(), "[A=b]")
    docker("rmi", "cli/imported")
    docker("rmi", "cli/imported", status=1)


def networked():
    """network create, connect, inspect, disconnect, rm; port"""
    docker("network", "create", "--subnet", "10.97.0.0/24", "--label", "cli=yes", "cli-net")
    docker("run", "--detach", "--name", "cli-peer", "--network", "cli-net", "--network-alias", "friend",
           "--publish", "127.0.0.1::6379", STACK, "redis-server", "--protected-mode", "no")
    docker("network", "connect", "cli-net", "cli-run")
    until("the peer answers by its alias",
          lambda: "PONG" in docker("exec", "cli-run", "redis-cli", "-h", "friend", "ping"))
    network = json.loads(docker("network", "inspect", "cli-net"))[0]
    equal(sorted(member["Name"] for member in network["Containers"].values()), ["cli-peer", "cli-run"])
    holds("127.0.0.1:", docker("port", "cli-peer", "6379"))
    docker("network", "rm", "cli-net", status=1)
    docker("network", "disconnect", "cli-net", "cli-run")
    docker("rm", "--force", "cli-peer")
    docker("network", "rm", "cli-net")


def volumes():
    """volume create, ls, inspect, rm, prune"""
    docker("volume", "create", "--label", "cli=yes", "cli-volume")
    docker("run", "--rm", "--volume", "cli-volume:/data", STACK, "sh", "-c", "echo kept > /data/file")
    equal(docker("run", "--rm", "--mount", "type=volume,source=cli-volume,target=/data,readonly", STACK,
                 "cat", "/data/file"), "kept\n")
    equal(docker("volume", "ls", "--quiet", "--filter", "label=cli=yes"), "cli-volume\n")
    equal(json.loads(docker("volume", "inspect", "cli-volume"))[0]["Driver"], "local")
    docker("volume", "rm", "cli-volume")
    docker("volume", "inspect", "cli-volume", status=1)


def bound():
    """a folder of this computer is in the container"""
    os.chmod(folder, 0o755)
    with open(os.path.join(folder, "shared"), "w") as file:
        file.write("seen")
    equal(docker("run", "--rm", "--volume", f"{folder}:/here", STACK, "cat", "/here/shared"), "seen")
    docker("run", "--rm", "--volume", f"{folder}:/here", STACK, "sh", "-c", "echo written > /here/written")
    with open(os.path.join(folder, "written")) as file:
        equal(file.read(), "written\n")


def told():
    """events come as they happen"""
    with Follower("docker", "events", "--filter", "container=cli-long", "--format", "{{.Action}}") as watcher:
        # It may not be connected yet: done again until it is told.
        until("the watcher is told", lambda: (
            docker("run", "--rm", "--name", "cli-long", STACK, "true"), "destroy" in watcher.text)[1])
    past = docker("events", "--since", "10m", "--until", "0s", "--filter", "container=cli-long", "--format", "{{.Action}}")
    order = [action for action in past.split() if action in ("create", "start", "die", "destroy")]
    holds("create start die destroy", " ".join(order))


def healthy():
    """a health check runs and is told"""
    docker("run", "--detach", "--name", "cli-long", "--health-cmd", "test -e /tmp/well", "--health-interval", "1s",
           "--health-retries", "1", STACK, "sleep", "1000")
    until("it is unhealthy", lambda: inspect("cli-long")["State"]["Health"]["Status"] == "unhealthy")
    docker("exec", "cli-long", "touch", "/tmp/well")
    until("it is healthy", lambda: inspect("cli-long")["State"]["Health"]["Status"] == "healthy")
    docker("rm", "--force", "cli-long")


def pruned():
    """system df, container prune, system prune"""
    docker("rm", "--force", "cli-run")
    docker("run", "--name", "cli-run", STACK, "true")
    holds("Images", docker("system", "df"))
    holds("Deleted Containers", docker("container", "prune", "--force"))
    docker("inspect", "cli-run", status=1)
    docker("network", "prune", "--force")
    docker("volume", "prune", "--force")
    docker("system", "prune", "--force")


def absent():
    """what this engine is not, it says"""
    docker("node", "ls", status=1)
    docker("service", "ls", status=1)
    equal(docker("plugin", "ls", "--quiet"), "")


try:
    steps(known, ran, lived, executed, logged, attached, terminal, copied, imaged, networked, volumes, bound, told,
          healthy, pruned, absent)
finally:
    for name in started:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, timeout=PATIENCE)
    subprocess.run(["docker", "network", "rm", "cli-net"], capture_output=True, timeout=PATIENCE)
    shutil.rmtree(folder)
