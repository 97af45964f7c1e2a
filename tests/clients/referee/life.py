"""Containers as they live: their states, streams, processes and files."""

import io
import tarfile
import threading

from .image import IMAGE, entry
from .wire import pieces

VERSIONS = ("1.24", "1.41", "1.42", "1.51")


def make(engine, name, *command, start=True, **more):
    description = {"Image": IMAGE, "Cmd": list(command), **more}
    engine.post("/containers/create", {"name": name}, description, keep=False)
    if start:
        engine.post(f"/containers/{name}/start", keep=False)


def gone(engine, *names):
    for name in names:
        engine.delete(f"/containers/{name}", {"force": "1", "v": "1"}, keep=False)


def lived(engine):
    """each state, and what each refuses"""
    make(engine, "diff-life", "sleep", "1000", start=False)
    one = "/containers/diff-life"
    for verb in ("stop", "kill", "pause", "unpause", "resize?h=1&w=1", "top", "exec", "stats?stream=0", "stats?stream=0&one-shot=1"):
        path, _, query = verb.partition("?")
        method = "GET" if path in ("top", "stats") else "POST"
        engine.ask(method, f"{one}/{path}", query, {"Cmd": ["true"]} if path == "exec" else None, note="created")
    engine.post(one + "/start", {"detachKeys": "no such keys"})
    engine.post(one + "/start", {"checkpoint": "none"})
    engine.post(one + "/start", note="running")
    engine.get(one + "/json", note="running")
    engine.post(one + "/unpause", note="running")
    engine.post(one + "/pause")
    engine.get(one + "/json", note="paused")
    for verb in ("pause", "start", "exec", "restart?t=0", "stop?t=0"):
        path, _, query = verb.partition("?")
        engine.post(f"{one}/{path}", query, {"Cmd": ["true"]} if path == "exec" else None, note="paused")
    engine.post(one + "/start", note="again", keep=False)
    engine.post(one + "/unpause", keep=False)
    engine.delete(one, note="running")
    for query in ({"signal": "NOSUCH"}, {"signal": "99"}, {"signal": "CONT"}, {"signal": "18"}, {"signal": "SIGCONT"}):
        engine.post(one + "/kill", query)
    for query in ({"t": "x"}, {"signal": "NOSUCH"}):
        engine.post(one + "/stop", query)
        engine.post(one + "/restart", query)
    for query in ({"h": "x", "w": "1"}, {}, {"h": "10", "w": "20"}):
        engine.post(one + "/resize", query)
    for query in ({"name": ""}, {"name": "-x"}, {"name": "diff-life"}, {}):
        engine.post(one + "/rename", query)
    make(engine, "diff-other", "true", start=False)
    engine.post(one + "/rename", {"name": "diff-other"})
    for body in ({"Memory": 1}, {"Memory": 67108864, "MemorySwap": 67108864}, {"CpuShares": 100}, {"NanoCpus": 500000000},
                 {"RestartPolicy": {"Name": "wrong"}}, {"RestartPolicy": {"Name": "unless-stopped"}}, {"PidsLimit": 50},
                 {"CpusetCpus": "77"}, {}, {"CpuQuota": 1}):
        engine.post(one + "/update", body=body, note=f"{body}")
    engine.post(one + "/update", body=b"{", note="no JSON")
    engine.get(one + "/json", note="updated")
    engine.post(one + "/stop", {"t": "0"})
    engine.post(one + "/stop", note="stopped")
    engine.get(one + "/json", note="stopped")
    engine.post(one + "/kill", note="stopped")
    for verb in ("restart", "pause"):
        engine.post(f"{one}/{verb}", {"t": "0"}, note="stopped")
    engine.post(one + "/kill", note="running")
    engine.post(one + "/wait")
    gone(engine, "diff-life", "diff-other")
    for command in (["no-such-program"], ["/tmp"], ["/etc/note"]):
        make(engine, "diff-broken", *command, start=False)
        engine.post("/containers/diff-broken/start", note=f"{command}")
        engine.get("/containers/diff-broken/json", note=f"{command}")
        gone(engine, "diff-broken")
    make(engine, "diff-broken", "true", start=False, User="no-such-user")
    engine.post("/containers/diff-broken/start", note="no such user")
    gone(engine, "diff-broken")
    make(engine, "diff-broken", "sh", "-c", "exit 7")
    engine.post("/containers/diff-broken/wait")
    engine.get("/containers/diff-broken/json", note="failed")
    gone(engine, "diff-broken")


def waited(engine):
    """wait, in every condition"""
    make(engine, "diff-wait", "sh", "-c", "exit 3", start=False)
    for query in ({"condition": "no-such"}, {"condition": ""}):
        engine.post("/containers/diff-wait/wait", query, keep=query["condition"] != "")
    waiting = threading.Thread(target=lambda: engine.post("/containers/diff-wait/wait", {"condition": "next-exit"}))
    waiting.start()
    while waiting.is_alive():
        # It may not wait yet: started again until it is told.
        engine.post("/containers/diff-wait/start", keep=False)
        waiting.join(0.5)
    engine.post("/containers/diff-wait/wait", {"condition": "not-running"})
    for version in ("1.24", "1.30"):
        engine.post("/containers/diff-wait/wait", version=version)
    gone(engine, "diff-wait")
    make(engine, "diff-wait", "sleep", "1", start=False, HostConfig={"AutoRemove": True})
    waiting = threading.Thread(target=lambda: engine.post("/containers/diff-wait/wait", {"condition": "removed"}))
    engine.post("/containers/diff-wait/start", keep=False)
    waiting.start()
    waiting.join()


SPEAKS = ("sh", "-c", "echo one; sleep 0.3; echo two >&2; sleep 0.3; echo three")


def logged(engine):
    """logs"""
    make(engine, "diff-logs", *SPEAKS, Labels={"a": "b"})
    engine.post("/containers/diff-logs/wait", keep=False)
    both = {"stdout": "1", "stderr": "1"}
    for version in VERSIONS:
        engine.get("/containers/diff-logs/logs", both, version=version)
    for more in ({"tail": "1"}, {"tail": "0"}, {"tail": "x"}, {"tail": "-1"}, {"timestamps": "1"}, {"details": "1"}, {"follow": "1"},
                 {"since": "0"}, {"since": "9999999999"}, {"since": "x"}, {"until": "1"}, {"until": "x"}, {"since": "1.5"},
                 {"stderr": "0"}, {"stdout": "0"}, {"stdout": "0", "stderr": "0"}, {"tail": "2", "follow": "1"}):
        engine.get("/containers/diff-logs/logs", {**both, **more})
    engine.get("/containers/diff-logs/logs")
    gone(engine, "diff-logs")
    make(engine, "diff-logs", "printf", "\\none\\ntwo\\nthree")
    engine.post("/containers/diff-logs/wait", keep=False)
    for more in ({}, {"follow": "1"}, {"timestamps": "1"}, {"tail": "2"}):
        answer = engine.get("/containers/diff-logs/logs", {**both, **more}, note="pieces")
        answer.content = lambda told=pieces(answer.body): told
    engine.hijack("/containers/diff-logs/attach", {"logs": "1", **both}, note="logs alone")
    gone(engine, "diff-logs")
    make(engine, "diff-logs", "sh", "-c", "stty size; echo err >&2", Tty=True)
    engine.post("/containers/diff-logs/wait", keep=False)
    for version in VERSIONS:
        engine.get("/containers/diff-logs/logs", both, version=version, note="terminal")
    gone(engine, "diff-logs")


def attached(engine):
    """attach: input, output and their ends"""
    for version in VERSIONS:
        for upgrade in (True, False):
            make(engine, "diff-attach", "sh", "-c", "cat; echo end >&2", start=False, OpenStdin=True, StdinOnce=True,
                 AttachStdin=True, AttachStdout=True, AttachStderr=True)
            # Input without an upgrade is the request's body here, as HTTP has it.
            engine.hijack("/containers/diff-attach/attach", {"stream": "1", "stdin": "1", "stdout": "1", "stderr": "1"},
                          send=b"spoken\n" if upgrade else b"", version=version, upgrade=upgrade, note=f"upgrade {upgrade}",
                          meanwhile=lambda: engine.post("/containers/diff-attach/start", keep=False))
            engine.post("/containers/diff-attach/wait", keep=False)
            gone(engine, "diff-attach")
    make(engine, "diff-attach", "sleep", "1000")
    for query in ({"stream": "1", "stdout": "1", "detachKeys": "no such"}, ):
        engine.post("/containers/diff-attach/attach", query)
    engine.post("/containers/diff-attach/pause", keep=False)
    engine.post("/containers/diff-attach/attach", {"stream": "1", "stdout": "1"}, note="paused")
    gone(engine, "diff-attach")


def executed(engine):
    """exec"""
    make(engine, "diff-exec", "sleep", "1000")
    create = "/containers/diff-exec/exec"
    for body in ({}, {"Cmd": []}, {"Cmd": None}, {"Cmd": ["x"], "DetachKeys": "no such"}, {"Cmd": "of one word"}):
        engine.post(create, body=body, note=f"{body}")
    engine.post(create, body=b"{", note="no JSON")
    engine.post(create, note="no body")
    for body in ({"Cmd": ["sh", "-c", "echo out; echo err >&2; exit 4"], "AttachStdout": True, "AttachStderr": True},
                 {"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStdout": True},
                 {"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStderr": True},
                 {"Cmd": ["sh", "-c", "echo $A; pwd; id -u"], "AttachStdout": True, "Env": ["A=b"], "WorkingDir": "/tmp", "User": "sailor"},
                 {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True, "AttachStderr": True},
                 {"Cmd": ["no-such-program"], "AttachStdout": True, "AttachStderr": True},
                 {"Cmd": ["/tmp"], "AttachStdout": True, "AttachStderr": True},
                 {"Cmd": ["true"], "AttachStdout": True, "User": "no-such-user"},
                 {"Cmd": ["pwd"], "AttachStdout": True, "WorkingDir": "/no/such"},
                 {"Cmd": ["true"], "AttachStdout": True, "Privileged": True},
                 {"Cmd": ["tty"], "AttachStdout": True, "Tty": True}):
        for upgrade in (True, False):
            made = engine.post(create, body=body, note=f"{body}")
            if made.status != 201:
                continue
            one = f"/exec/{made.id()}"
            engine.get(one + "/json", note=f"made {body}")
            start = {"Detach": False, "Tty": body.get("Tty", False)}
            engine.hijack(one + "/start", body=start, upgrade=upgrade, send=b"spoken\n" if upgrade else b"", note=f"{body} upgrade {upgrade}")
            engine.get(one + "/json", note=f"ended {body}")
            if upgrade:
                engine.post(one + "/start", body=start, note="again")
    for version in VERSIONS:
        made = engine.post(create, body={"Cmd": ["echo", "x"], "AttachStdout": True}, version=version)
        engine.hijack(f"/exec/{made.id()}/start", body={}, version=version)
    made = engine.post(create, body={"Cmd": ["sleep", "1000"], "Tty": True})
    engine.post(f"/exec/{made.id()}/start", body={"Detach": True, "Tty": True})
    engine.get(f"/exec/{made.id()}/json", note="running")
    engine.get("/containers/diff-exec/json", note="with an exec")
    for query in ({"h": "10", "w": "20"}, {"h": "x", "w": "1"}, {}):
        engine.post(f"/exec/{made.id()}/resize", query)
    made = engine.post(create, body={"Cmd": ["true"]})
    engine.post(f"/exec/{made.id()}/resize", {"h": "10", "w": "20"}, note="not started")
    engine.post(f"/exec/{made.id()}/start", body=b"{", note="no JSON")
    engine.post("/containers/diff-exec/stop", {"t": "0"}, keep=False)
    engine.post(f"/exec/{made.id()}/start", body={"Detach": True}, note="its container stopped")
    engine.post(create, body={"Cmd": ["true"]}, note="stopped")
    gone(engine, "diff-exec")


def looked_at(engine):
    """top, changes, stats, export"""
    make(engine, "diff-look", "sh", "-c", "echo text > /etc/added; rm /etc/note; chmod 600 /etc/group; mkdir /new; sleep 1000")
    one = "/containers/diff-look"
    while b"/new" not in engine.get(one + "/changes", keep=False).body:
        pass
    engine.get(one + "/changes")
    for query in ({"ps_args": "-o pid,args"}, {"ps_args": "aux"}, {"ps_args": "-o args"}, {"ps_args": "--no-such"}, {}):
        engine.get(one + "/top", query)
    for query in ({"stream": "0"}, {"stream": "0", "one-shot": "1"}):
        engine.get(one + "/stats", query)
    engine.get(one + "/stats", {"stream": "1", "one-shot": "1"})
    exported = engine.get(one + "/export")
    with tarfile.open(fileobj=io.BytesIO(exported.body)) as tree:
        names = sorted(name for name in tree.getnames() if name.startswith("etc/"))
    exported.content = lambda: names
    for query in ({"repo": "diff/look", "tag": "1", "comment": "said", "author": "me", "changes": "ENV X=y\nCMD [\"a\"]"},
                  {"repo": "diff/LOOK"}, {"repo": "diff/look", "tag": "no tag"}, {"repo": "diff/look", "tag": "2", "changes": "FROM x"}):
        engine.post("/commit", {"container": "diff-look", **query})
    engine.get("/images/diff/look:1/json", note="committed")
    engine.get("/images/diff/look:1/history", note="committed")
    engine.post("/commit", {"container": "diff-look", "repo": "diff/look", "tag": "3"},
                {"Env": ["OF=body"], "Cmd": ["body"], "Labels": {"of": "body"}, "ExposedPorts": {"7/tcp": {}}})
    engine.get("/images/diff/look:3/json", note="committed with a configuration")
    for tag in "13":
        engine.delete(f"/images/diff/look:{tag}", keep=False)
    gone(engine, "diff-look")


def carried(engine):
    """files in and out"""
    make(engine, "diff-files", "true", start=False)
    one = "/containers/diff-files/archive"
    for path in ("/etc/note", "/etc", "/etc/", "/etc/link", "/etc/note/", "/no/such", "", "etc/note", "/"):
        engine.ask("HEAD", one, {"path": path})
        out = engine.get(one, {"path": path})
        if out.status == 200:
            with tarfile.open(fileobj=io.BytesIO(out.body)) as tree:
                names = sorted(tree.getnames()) if path != "/" else []
            out.content = lambda names=names: names
    engine.get(one)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tree:
        entry(tree, "carried", b"text")
    for query in ({"path": "/tmp"}, {"path": "/no/such"}, {"path": "/etc/note"}, {"path": ""}, {},
                  {"path": "/tmp", "noOverwriteDirNonDir": "1"}, {"path": "/tmp", "copyUIDGID": "1"}):
        engine.ask("PUT", one, query, packed.getvalue())
    engine.ask("PUT", one, {"path": "/tmp"}, b"no archive", note="no archive")
    folder = io.BytesIO()
    with tarfile.open(fileobj=folder, mode="w") as tree:
        entry(tree, "note")
    engine.ask("PUT", one, {"path": "/etc", "noOverwriteDirNonDir": "1"}, folder.getvalue(), note="a folder over a file")
    engine.get("/containers/diff-files/changes")
    gone(engine, "diff-files")


CASES = (lived, waited, logged, attached, executed, looked_at, carried)
