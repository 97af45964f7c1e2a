"""docker compose v2 with an application of three services."""

import json
import os
import shutil
import tempfile

from support import FOLDER, STACK, Follower, docker, equal, fetch, holds, inspect, steps, until

project = tempfile.mkdtemp(prefix="guestbook-", dir=os.environ.get("CLIENTS_FOLDER"))
shutil.copytree(os.path.join(FOLDER, "compose"), project, dirs_exist_ok=True)


def compose(*arguments, **options):
    return docker("compose", *arguments, cwd=project, env={"STACK_IMAGE": STACK}, **options)


def address(index=1):
    return "http://" + compose("port", "--index", str(index), "web", "8000").strip()


def guests(index=1):
    return fetch(address(index))[0].strip()


def greeted(wanted):
    """The web server has no check of its own: it runs, and may not listen yet."""
    equal(until("the pages are served", guests), wanted)


def configuration():
    """config shows what is meant"""
    clear()
    services = json.loads(compose("config", "--format", "json"))["services"]
    equal(sorted(services), ["cache", "db", "web"])


def up():
    """up waits for the health of what a service depends on"""
    compose("up", "--detach", "--wait")
    greeted("welcome")


def listed():
    """ps, images, ls, top and events' labels agree"""
    lines = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    equal({line["Service"]: (line["State"], line["Health"]) for line in lines},
          {"db": ("running", "healthy"), "cache": ("running", "healthy"), "web": ("running", "")})
    equal(json.loads(compose("ls", "--format", "json"))[0]["Status"], "running(3)")
    holds(STACK.split(":")[0], compose("images"))
    holds("redis-server", compose("top", "cache"))
    labels = inspect("guestbook-web-1")["Config"]["Labels"]
    equal((labels["com.docker.compose.service"], labels["guestbook.part"]), ("web", "web"))


def work():
    """the services find each other, by name and alias"""
    equal(fetch(address(), b"Ada")[0], "noted\n")
    equal(guests(), "welcome Ada")
    equal(guests(), "welcome Ada")
    holds("Ada", compose("exec", "-T", "cache", "redis-cli", "get", "guests"))


def executed():
    """exec has standard input and the process's own exit status"""
    equal(compose("exec", "-T", "web", "cat", input="spoken"), "spoken")
    compose("exec", "-T", "web", "sh", "-c", "exit 7", status=7)


def profile():
    """a service of a profile runs when asked for"""
    equal(compose("run", "--rm", "-T", "count").strip().splitlines()[-1], "1")


def logged():
    """logs come with the names of the services, and follow"""
    holds("web-1  | serving", compose("logs", "web"))
    environment = {"STACK_IMAGE": STACK}
    with Follower("docker", "compose", "logs", "--follow", "--no-log-prefix", "--tail", "0", "web",
                  cwd=project, env=environment) as follower:
        # It may not follow yet: said again until it is heard.
        until("the follower hears", lambda: (
            compose("exec", "-T", "web", "sh", "-c", "echo heard > /proc/1/fd/1"), "heard" in follower.text)[1])


def copied():
    """cp goes both ways"""
    with open(os.path.join(project, "note"), "w") as note:
        note.write("carried")
    compose("cp", "note", "cache:/tmp/note")
    compose("cp", "cache:/tmp/note", "back")
    with open(os.path.join(project, "back")) as back:
        equal(back.read(), "carried")


def scaled():
    """scale up and down, each with its own port"""
    compose("up", "--detach", "--wait", "--scale", "web=3")
    servers = {until("it serves", lambda: fetch(address(index)))[1]["X-Served-By"] for index in (1, 2, 3)}
    equal(len(servers), 3)
    compose("scale", "web=1")
    equal(len(compose("ps", "--quiet", "web").split()), 1)


def changed():
    """a changed service alone is made anew"""
    before = {name: inspect(f"guestbook-{name}-1")["Id"] for name in ("db", "cache", "web")}
    docker("compose", "up", "--detach", "--wait", cwd=project,
           env={"STACK_IMAGE": STACK, "GREETING": "hello"})
    after = {name: inspect(f"guestbook-{name}-1")["Id"] for name in ("db", "cache", "web")}
    equal([name for name in before if before[name] != after[name]], ["web"])
    greeted("hello Ada")


def paused():
    """pause, unpause, restart, kill"""
    compose("pause", "cache")
    equal(inspect("guestbook-cache-1")["State"]["Status"], "paused")
    compose("unpause", "cache")
    began = inspect("guestbook-cache-1")["State"]["StartedAt"]
    compose("restart", "cache")
    assert inspect("guestbook-cache-1")["State"]["StartedAt"] > began
    compose("kill", "cache")
    equal(inspect("guestbook-cache-1")["State"]["ExitCode"], 137)
    compose("up", "--detach", "--wait")
    greeted("welcome Ada")


def watched():
    """watch carries a changed file into the container"""
    page = os.path.join(project, "pages", "index.html")
    def arrived():
        # The watcher may not watch yet: written again until it is seen.
        with open(page, "w") as file:
            file.write("<h1>Changed</h1>")
        return "Changed" in compose("exec", "-T", "web", "cat", "/pages/index.html")

    with Follower("docker", "compose", "watch", "--no-up", cwd=project, env={"STACK_IMAGE": STACK}):
        until("the changed page is in the container", arrived)


def down():
    """down keeps the volume, down --volumes leaves nothing"""
    compose("down")
    equal(compose("ps", "--all", "--quiet"), "")
    equal(docker("volume", "ls", "--quiet", "--filter", "name=guestbook_records").strip(), "guestbook_records")
    compose("up", "--detach", "--wait")
    greeted("welcome Ada")
    compose("down", "--volumes", "--remove-orphans")
    for kind in ("volume", "network"):
        equal(docker(kind, "ls", "--quiet", "--filter", "label=com.docker.compose.project=guestbook"), "")


def clear():
    compose("down", "--volumes", "--remove-orphans", "--timeout", "1")


try:
    steps(configuration, up, listed, work, executed, profile, logged, copied, scaled, changed, paused, watched, down)
finally:
    clear()
    shutil.rmtree(project)
