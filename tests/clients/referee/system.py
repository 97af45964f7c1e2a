"""The engine as a whole, and what it is not."""

import datetime

from .image import IMAGE, archive
from .wire import nobody

VERSIONS = ("1.24", "1.40", "1.44", "1.51")


def known(engine):
    """ping, version, info"""
    for version in (None, *VERSIONS):
        for method in ("GET", "HEAD"):
            engine.ask(method, "/_ping", version=version)
    for version in VERSIONS:
        engine.get("/version", version=version)
        engine.get("/info", version=version)
    for version in ("1.23", "1.52", "2.0", "0.9", "1.x"):
        engine.get("/_ping", version=version)
        engine.get("/info", version=version)


def lost(engine):
    """paths and methods that lead nowhere"""
    for method, path in (("GET", "/no/such"), ("GET", "/containers"), ("POST", "/info"), ("DELETE", "/_ping"),
                         ("PUT", "/containers/x/json"), ("GET", "/containers/x/start"), ("PATCH", "/images/json"),
                         ("GET", "/images"), ("POST", "/networks"), ("GET", "/")):
        engine.ask(method, path)


def used(engine):
    """df"""
    engine.post("/containers/create", {"name": "diff-df"}, {
        "Image": IMAGE, "Cmd": ["sh", "-c", "echo text > /file"], "HostConfig": {"Binds": ["diff-df:/data"]}})
    engine.post("/containers/diff-df/start")
    engine.post("/containers/diff-df/wait")
    for version in ("1.24", "1.41", "1.42", "1.44", "1.51"):
        engine.get("/system/df", version=version)
    for kind in ("container", "image", "volume", "build-cache", "no-such"):
        engine.get("/system/df", {"type": kind})
    engine.get("/system/df", "type=image&type=volume")
    engine.delete("/containers/diff-df")
    engine.delete("/volumes/diff-df")


def moment(engine):
    """The engine's own time, in the form that clients send."""
    date, _, fraction = engine.get("/info", keep=False).json()["SystemTime"].rstrip("Z").partition(".")
    seconds = datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.timezone.utc).timestamp()
    return f"{seconds:.0f}.{fraction or 0}"


def told(engine):
    """events"""
    since = moment(engine)
    engine.post("/networks/create", body={"Name": "diff-events"})
    engine.post("/volumes/create", body={"Name": "diff-events"})
    engine.post("/containers/create", {"name": "diff-events"}, {
        "Image": IMAGE, "Cmd": ["sleep", "1000"], "Labels": {"a": "b"},
        "HostConfig": {"NetworkMode": "diff-events", "Binds": ["diff-events:/data"]}})
    engine.post("/containers/diff-events/start")
    engine.post("/containers/diff-events/pause")
    engine.post("/containers/diff-events/unpause")
    engine.post("/containers/diff-events/rename", {"name": "diff-renamed"})
    engine.post("/containers/diff-renamed/update", body={"Memory": 67108864, "MemorySwap": 67108864})
    execution = engine.post("/containers/diff-renamed/exec", body={"Cmd": ["true"], "AttachStdout": True}).id()
    engine.hijack(f"/exec/{execution}/start", body={}, note="exec")
    engine.post("/containers/diff-renamed/kill", {"signal": "SIGKILL"})
    engine.post("/containers/diff-renamed/wait")
    engine.post("/images/" + IMAGE + "/tag", {"repo": "diff/events", "tag": "1"})
    engine.delete("/images/diff/events:1")
    engine.post("/images/load", {"quiet": "1"}, archive("diff/loaded:1", {"Env": ["TOLD=1"]}))
    engine.delete("/images/diff/loaded:1")
    name = f"{engine.registry}/told/app"
    engine.post(f"/images/{IMAGE}/tag", {"repo": name, "tag": "1"}, keep=False)
    engine.post(f"/images/{name}/push", {"tag": "1"}, headers=nobody(), keep=False)
    engine.post("/images/create", {"fromImage": name, "tag": "1"}, keep=False)
    engine.delete(f"/images/{name}:1", keep=False)
    engine.delete("/containers/diff-renamed")
    engine.delete("/networks/diff-events")
    engine.delete("/volumes/diff-events")
    until = moment(engine)
    window = {"since": since, "until": until}
    for kind in ("container", "network", "volume", "image"):
        answer = engine.get("/events", {**window, "filters": {"type": [kind]}}, note=kind, keep=False)
        found = answer.content()
        found = found if isinstance(found, list) else [found]
        # What happens side by side comes in any order.
        found.sort(key=lambda event: (event["Action"].split(":")[0], event["Actor"]["ID"], str(event["Actor"]["Attributes"])))
        answer.label, answer.content = f"{engine.case}: events of {kind}", lambda found=found: found
        engine.keep(answer)
    for filters in ({"event": ["pause"]}, {"container": ["diff-renamed"], "event": ["die"]}, {"label": ["a=b"], "event": ["start"]},
                    {"image": [IMAGE], "event": ["create"]}, {"scope": ["local"], "event": ["pause"]}, {"scope": ["swarm"]},
                    {"network": ["diff-events"], "event": ["create"]}, {"volume": ["diff-events"], "event": ["create"]},
                    {"daemon": ["x"]}, {"type": ["no-such"]}, {"no-such": ["x"]}, "{"):
        told = engine.get("/events", {**window, "filters": filters}, keep=False)
        told.label = f"{engine.case}: events {filters}"
        engine.keep(told)
    for query in ({"since": "x"}, {"until": "x"}, {"since": "1700000000", "until": "1600000000"}):
        engine.get("/events", query)


def absent(engine):
    """swarm, its parts, plugins, sessions"""
    for path in ("/swarm", "/swarm/unlockkey", "/nodes", "/nodes/x", "/services", "/services/x", "/tasks", "/tasks/x",
                 "/secrets", "/secrets/x", "/configs", "/configs/x", "/services/x/logs?stdout=1", "/tasks/x/logs?stdout=1"):
        path, _, query = path.partition("?")
        engine.get(path, query)
    for path in ("/swarm/leave", "/swarm/update", "/services/create", "/secrets/create", "/configs/create", "/nodes/x/update"):
        engine.post(path, {"version": "1"}, {})
    engine.get("/plugins")
    engine.get("/plugins", {"filters": {"no-such": ["x"]}})
    for verb in ("json", "enable?timeout=0", "disable", "push", "set"):
        path, _, query = verb.partition("?")
        body = [] if path == "set" else None
        engine.ask("GET" if path == "json" else "POST", f"/plugins/no-such/{path}", query, body)
    engine.delete("/plugins/no-such")
    engine.post("/auth", body={"username": "x", "password": "y", "serveraddress": engine.registry})
    engine.post("/auth", body=b"{")
    engine.post("/build/prune")


CASES = (known, lost, used, told, absent)
