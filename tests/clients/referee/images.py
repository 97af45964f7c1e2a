"""Images: what they are, their names, and their ways in and out."""

import io
import json
import tarfile

from .image import IMAGE, archive, root
from .wire import nobody

VERSIONS = ("1.24", "1.40", "1.43", "1.44", "1.51")


def seen(engine):
    """inspect, history, lists and their filters"""
    identity = engine.get(f"/images/{IMAGE}/json", keep=False).id()
    for version in VERSIONS:
        engine.get(f"/images/{IMAGE}/json", version=version)
        engine.get("/images/json", {"filters": {"reference": [IMAGE]}}, version=version)
    for name in (identity, identity[7:19], identity[7:], "referee/busybox", "docker.io/" + IMAGE, "no-such", "no-such:x",
                 "UPPER", "sha256:" + "0" * 64, "referee%2Fbusybox:1"):
        engine.get(f"/images/{name}/json", note="by a name")
    for name in (IMAGE, "no-such"):
        engine.get(f"/images/{name}/history")
    engine.get(f"/images/{IMAGE}/json", {"manifests": "1"})
    engine.get(f"/images/{IMAGE}/json", {"platform": "{\"os\":\"linux\",\"architecture\":\"amd64\"}"})
    engine.get(f"/images/{IMAGE}/json", {"platform": "no json"})
    ours = {"reference": ["referee/*"]}
    for more in ({"dangling": ["false"]}, {"dangling": ["true"]}, {"dangling": ["x"]}, {"label": ["image=label"]}, {"label": ["image"]},
                 {"label": ["no"]}, {"label!": ["image"]}, {"before": [IMAGE]}, {"since": [IMAGE]}, {"before": ["no-such"]}, {"since": ["no-such"]},
                 {"until": ["1h"]}, {"until": ["x"]}, {"no-such": ["x"]}):
        engine.get("/images/json", {"filters": {**ours, **more}})
    for pattern in ("busybox", "referee/busy*", "referee/busybox:1", "*/*:1", "referee/busybox:2", "[", "docker.io/referee/busybox"):
        engine.get("/images/json", {"filters": {"reference": [pattern]}})
    for query in ({"shared-size": "1", "filters": ours}, {"all": "1", "filters": ours}, {"digests": "1", "filters": ours},
                  {"manifests": "1", "filters": ours}, {"filters": "{"}):
        engine.get("/images/json", query)
    engine.get("/images/json", {"filter": IMAGE}, version="1.40")


def named(engine):
    """tag, remove, prune"""
    for query in ({"repo": "diff/named", "tag": "1"}, {"repo": "diff/named"}, {"repo": "UPPER"}, {"repo": ""}, {}, {"repo": "diff/named", "tag": "no tag"},
                  {"repo": "0" * 64}, {"repo": "diff/named:2"}, {"repo": "diff/named:2", "tag": "3"}):
        engine.post(f"/images/{IMAGE}/tag", query)
    engine.post("/images/no-such/tag", {"repo": "diff/named"})
    engine.delete("/images/no-such")
    engine.delete("/images/UPPER")
    engine.delete("/images/diff/named:1")
    engine.delete("/images/diff/named")
    engine.delete("/images/diff/named:1", note="again")
    engine.delete("/images/diff/named:2", keep=False)
    engine.delete("/images/diff/named:3", keep=False)
    engine.post("/images/load", body=archive("diff/used:1", {"Env": ["OTHER=image"]}), keep=False)
    engine.post("/containers/create", {"name": "diff-used"}, {"Image": "diff/used:1", "Cmd": ["sleep", "1000"]}, keep=False)
    engine.delete("/images/diff/used:1", note="a container has it")
    engine.post("/containers/diff-used/start", keep=False)
    engine.delete("/images/diff/used:1", {"force": "1"}, note="a running container has it")
    engine.delete("/containers/diff-used", {"force": "1"}, keep=False)
    engine.delete("/images/diff/used:1", note="nobody has it")
    for filters in ({"no-such": ["x"]}, {"dangling": ["x"]}, {"until": ["x"]}, {"label": ["no-such-label"], "dangling": ["false"]}, {}):
        engine.post("/images/prune", {"filters": filters})


def packed(engine):
    """load, save, import"""
    whole = archive("diff/packed:1", {"Env": ["PACKED=1"]})
    engine.post("/images/load", {"quiet": "1"}, whole, note="quiet")
    engine.post("/images/load", {"quiet": "1"}, whole, note="again")
    for body in (b"", b"no archive"):
        engine.post("/images/load", {"quiet": "1"}, body, note=f"{body!r}")
    for names in ("names=diff/packed:1", f"names=diff/packed:1&names={IMAGE}", "names=no-such", ""):
        saved = engine.get("/images/get", names)
        if saved.status == 200 and saved.body:
            saved.content = lambda told=manifest(saved.body): told
    saved = engine.get("/images/diff/packed:1/get")
    saved.content = lambda told=manifest(saved.body): told
    engine.get("/images/no-such/get")
    engine.delete("/images/diff/packed:1", keep=False)
    for query in ({"fromSrc": "-", "repo": "diff/imported", "tag": "1", "message": "said", "changes": "ENV A=b"},
                  {"fromSrc": "-", "repo": "diff/UPPER"}, {"fromSrc": "-", "repo": "diff/imported", "tag": "2", "changes": "FROM x"},
                  {"fromSrc": "http://127.0.0.1:1/none", "repo": "diff/imported", "tag": "3"}):
        engine.post("/images/create", query, root())
    engine.get("/images/diff/imported:1/json", note="imported")
    engine.get("/images/diff/imported:1/history", note="imported")
    for tag in "123":
        engine.delete(f"/images/diff/imported:{tag}", keep=False)
    engine.post("/images/create", {"fromSrc": "-", "repo": "diff/imported"}, b"no archive", note="no archive")
    engine.delete("/images/diff/imported", keep=False)


def manifest(body):
    """What of a saved archive clients read."""
    with tarfile.open(fileobj=io.BytesIO(body)) as tree:
        told = json.load(tree.extractfile("manifest.json"))
    return sorted(([image["RepoTags"], len(image["Layers"])] for image in told or []), key=str)


def moved(engine):
    """push and pull, at a registry on the loopback"""
    name = f"{engine.registry}/team/app"
    engine.post(f"/images/{IMAGE}/tag", {"repo": name, "tag": "1"}, keep=False)
    settled(engine, engine.post(f"/images/{name}/push", {"tag": "1"}, headers=nobody(), note="push", keep=False), "push")
    settled(engine, engine.post(f"/images/{name}/push", {"tag": "1"}, headers=nobody(), keep=False), "push again")
    engine.post(f"/images/{name}/push", {"tag": "none"}, headers=nobody(), note="no such tag")
    engine.post("/images/localhost:1/nobody/push", {"tag": "x"}, headers=nobody())
    engine.post(f"/images/{name}/push", {"tag": "1"}, note="no header", keep=False)
    engine.get(f"/images/{name}:1/json", note="pushed")
    engine.delete(f"/images/{name}:1", note="pushed", keep=False)
    for query in ({"fromImage": name, "tag": "1"}, {"fromImage": f"{name}:1"}, {"fromImage": name, "tag": "1", "platform": "linux/amd64"}):
        settled(engine, engine.post("/images/create", query, keep=False), f"pull {query}")
    digest = engine.get(f"/images/{name}:1/json", keep=False).json()["RepoDigests"][0].split("@")[1]
    settled(engine, engine.post("/images/create", {"fromImage": name, "tag": digest}, keep=False), "pull by digest")
    engine.get(f"/images/{name}:1/json", note="pulled")
    for query in ({"fromImage": name, "tag": "none"}, {"fromImage": f"{engine.registry}/none", "tag": "1"}, {"fromImage": "UPPER"},
                  {"fromImage": name, "tag": "1", "platform": "linux/s390x"}, {"fromImage": name, "tag": "1", "platform": "no/such/thing/at/all"},
                  {"fromImage": "localhost:1/x", "tag": "1"}, {"fromImage": name, "tag": "no tag"}, {}):
        engine.post("/images/create", query)
    for identity in (f"{name}:1", f"{name}@{digest}"):
        engine.delete(f"/images/{identity}", keep=False)
    engine.get(f"/distribution/{name}:none/json")
    engine.get("/images/search", {"term": ""})
    engine.get("/images/search")


def settled(engine, answer, told):
    """What is told on the way comes as the transfer goes; what of it stays the same is compared."""
    told_of = {"Downloading", "Extracting", "Pushing", "Preparing", "Waiting", "Verifying Checksum", "Download complete",
               "Pulling fs layer", "Pull complete", "Pushed", "Layer already exists", "Already exists"}
    lines = answer.content() if isinstance(answer.content(), list) else [answer.content()]
    kept = [line for line in lines if line.get("status") not in told_of and not line.get("status", "").startswith("Mounted from")]
    # Of every status the shape of its first line.
    seen, shapes = set(), []
    for line in lines:
        if line.get("status") in told_of and line["status"] not in seen:
            seen.add(line["status"])
            shapes.append({key: type(value).__name__ for key, value in line.items()})
    del shapes
    answer.label = f"{engine.case}: {told}".replace(engine.registry, "<registry>")
    answer.content = lambda: kept
    engine.keep(answer)


CASES = (seen, named, packed, moved)
