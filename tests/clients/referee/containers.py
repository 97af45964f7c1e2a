"""Containers as they are made and told of: descriptions, lists, and what is refused."""

from .image import FOLDER, IMAGE

# Many of the things that can be asked of a container, none as it is by default.
EVERYTHING = {
    "Hostname": "host", "Domainname": "example.org", "User": "1000:1000", "WorkingDir": "/tmp", "Image": IMAGE,
    "Env": ["A=b", "EMPTY="], "Cmd": ["sleep", "1000"], "Entrypoint": ["/bin/busybox"], "Labels": {"a": "b", "c": ""},
    "ExposedPorts": {"9000/udp": {}}, "Volumes": {"/anonymous": {}}, "StopSignal": "SIGINT", "StopTimeout": 7,
    "Tty": False, "OpenStdin": True, "StdinOnce": True, "AttachStdin": True, "AttachStdout": True, "AttachStderr": False,
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 3000000000, "Timeout": 2000000000, "Retries": 4,
                    "StartPeriod": 1000000000, "StartInterval": 5000000000},
    "HostConfig": {
        "Binds": ["diff-bound:/bound:ro", f"{FOLDER}:/host:rw"], "Tmpfs": {"/memory": "size=1m"},
        "Mounts": [{"Type": "volume", "Source": "diff-mounted", "Target": "/mounted", "ReadOnly": True,
                    "VolumeOptions": {"NoCopy": True, "Labels": {"of": "mount"}}},
                   {"Type": "tmpfs", "Target": "/sized", "TmpfsOptions": {"SizeBytes": 1048576, "Mode": 448}},
                   {"Type": "bind", "Source": FOLDER, "Target": "/long", "BindOptions": {"Propagation": "rprivate"}}],
        "NetworkMode": "bridge", "PortBindings": {"9000/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "AutoRemove": False,
        "CapAdd": ["NET_ADMIN", "CAP_SYS_PTRACE"], "CapDrop": ["MKNOD"], "Dns": ["9.9.9.9"], "DnsOptions": ["ndots:2"],
        "DnsSearch": ["example.org"], "ExtraHosts": ["friend:10.0.0.1"], "GroupAdd": ["2000"], "IpcMode": "shareable",
        "OomScoreAdj": 100, "PidMode": "host", "Privileged": False, "PublishAllPorts": False, "ReadonlyRootfs": True,
        "SecurityOpt": ["no-new-privileges"], "Sysctls": {"net.core.somaxconn": "256"}, "UTSMode": "",
        "ShmSize": 33554432, "Init": True, "CgroupnsMode": "private", "ConsoleSize": [24, 80],
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "Memory": 67108864, "MemorySwap": 134217728, "MemoryReservation": 33554432, "CpuShares": 512,
        "CpuPeriod": 100000, "CpuQuota": 50000, "CpusetCpus": "0", "CpusetMems": "0", "PidsLimit": 100,
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r"}],
        "DeviceCgroupRules": ["c 1:3 r"], "Annotations": {"note": "kept"},
    },
    "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:ac:11:00:99", "GwPriority": 3}}},
}

# Descriptions that are refused, and what is wrong with each.
REFUSED = [
    {"Image": IMAGE, "HostConfig": {"Memory": 1024}},
    {"Image": IMAGE, "HostConfig": {"MemorySwap": 67108864}},
    {"Image": IMAGE, "HostConfig": {"Memory": 67108864, "MemorySwap": 33554432}},
    {"Image": IMAGE, "HostConfig": {"NanoCpus": 1000000000, "CpuQuota": 1000}},
    {"Image": IMAGE, "HostConfig": {"NanoCpus": 1000000000000}},
    {"Image": IMAGE, "HostConfig": {"CpusetCpus": "9999"}},
    {"Image": IMAGE, "HostConfig": {"CpuQuota": 10}},
    {"Image": IMAGE, "HostConfig": {"CpuPeriod": 10}},
    {"Image": IMAGE, "HostConfig": {"ShmSize": -1}},
    {"Image": IMAGE, "HostConfig": {"OomScoreAdj": 5000}},
    {"Image": IMAGE, "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}},
    {"Image": IMAGE, "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}},
    {"Image": IMAGE, "HostConfig": {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}},
    {"Image": IMAGE, "HostConfig": {"PortBindings": {"99999/tcp": [{"HostPort": "1"}]}}},
    {"Image": IMAGE, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "99999"}]}}},
    {"Image": IMAGE, "HostConfig": {"PortBindings": {"80/xyz": [{"HostPort": "1"}]}}},
    {"Image": IMAGE, "HostConfig": {"Binds": [f"{FOLDER}:relative"]}},
    {"Image": IMAGE, "HostConfig": {"Binds": [f"{FOLDER}:/x:wrong"]}},
    {"Image": IMAGE, "HostConfig": {"Binds": [f"{FOLDER}:/x", f"{FOLDER}:/x"]}},
    {"Image": IMAGE, "HostConfig": {"Binds": [f"{FOLDER}:/"]}},
    {"Image": IMAGE, "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/tmp/no/such/diff", "Target": "/x"}]}},
    {"Image": IMAGE, "HostConfig": {"Mounts": [{"Type": "volume", "Target": ""}]}},
    {"Image": IMAGE, "HostConfig": {"Mounts": [{"Type": "bind", "Source": "", "Target": "/x"}]}},
    {"Image": IMAGE, "HostConfig": {"Mounts": [{"Type": "wrong", "Target": "/x"}]}},
    {"Image": IMAGE, "HostConfig": {"Tmpfs": {"relative": ""}}},
    {"Image": IMAGE, "HostConfig": {"CapAdd": ["NO_SUCH"]}},
    {"Image": IMAGE, "HostConfig": {"LogConfig": {"Type": "no-such"}}},
    {"Image": IMAGE, "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "x"}}}},
    {"Image": IMAGE, "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"no-such": "1"}}}},
    {"Image": IMAGE, "HostConfig": {"NetworkMode": "container:no-such"}},
    {"Image": IMAGE, "HostConfig": {"PidMode": "wrong"}},
    {"Image": IMAGE, "HostConfig": {"IpcMode": "wrong"}},
    {"Image": IMAGE, "HostConfig": {"Dns": ["no address"]}},
    {"Image": IMAGE, "HostConfig": {"ExtraHosts": ["no-colon"]}},
    {"Image": IMAGE, "HostConfig": {"SecurityOpt": ["no-such=x"]}},
    {"Image": IMAGE, "HostConfig": {"Runtime": "no-such"}},
    {"Image": IMAGE, "HostConfig": {"VolumesFrom": ["no-such-container"]}},
    {"Image": IMAGE, "Healthcheck": {"Test": ["WRONG", "x"]}},
    {"Image": IMAGE, "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1}},
    {"Image": IMAGE, "Healthcheck": {"Test": ["CMD", "x"], "Retries": -1}},
    {"Image": IMAGE, "StopSignal": "SIGNOSUCH"},
    {"Image": IMAGE, "WorkingDir": "relative"},
    {"Image": IMAGE, "ExposedPorts": {"no port": {}}},
    {"Image": IMAGE, "Env": ["=x"]},
    {"Image": IMAGE, "Hostname": "under_score and space"},
    {"Image": "no-such-image:none"},
    {"Image": "UPPER"},
    {"Image": ""},
    {"Image": IMAGE, "NetworkingConfig": {"EndpointsConfig": {"no-such-net": {}}}},
    {"Image": IMAGE, "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "zz"}}}},
    {"Image": IMAGE, "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "1.2"}}}}},
    {"Cmd": "of one word"},
]


def described(engine):
    """every option comes back as it was given"""
    made = engine.post("/containers/create", {"name": "diff-everything"}, EVERYTHING, note="everything").id()
    for version in ("1.24", "1.40", "1.43", "1.44", "1.51"):
        engine.get("/containers/diff-everything/json", version=version)
    engine.get(f"/containers/{made[:12]}/json", {"size": "1"}, note="by short id")
    engine.get("/containers//diff-everything/json", note="with its slash")
    engine.delete("/containers/diff-everything", {"v": "1"})
    plain = {"Image": IMAGE}
    engine.post("/containers/create", {"name": "diff-plain"}, plain, note="nothing said")
    engine.get("/containers/diff-plain/json")
    engine.delete("/containers/diff-plain")
    nulls = {"Image": IMAGE, "Cmd": None, "Env": None, "Labels": None, "HostConfig": None, "NetworkingConfig": None}
    engine.post("/containers/create", {"name": "diff-plain"}, nulls, note="nulls")
    engine.delete("/containers/diff-plain")
    terminal = {"Image": IMAGE, "Tty": True, "HostConfig": {"NetworkMode": "none", "Privileged": True}}
    engine.post("/containers/create", {"name": "diff-terminal"}, terminal, note="terminal, privileged")
    engine.get("/containers/diff-terminal/json")
    engine.delete("/containers/diff-terminal")
    hosted = {"Image": IMAGE, "HostConfig": {"NetworkMode": "host", "PidMode": "host", "IpcMode": "host", "UTSMode": "host"}}
    engine.post("/containers/create", {"name": "diff-hosted"}, hosted, note="of the host")
    engine.get("/containers/diff-hosted/json")
    engine.delete("/containers/diff-hosted")
    for driver in ("local", "none"):
        engine.post("/containers/create", {"name": "diff-log"},
                    {"Image": IMAGE, "HostConfig": {"LogConfig": {"Type": driver}}}, note=driver)
        engine.get("/containers/diff-log/json", note=driver)
        engine.get("/containers/diff-log/logs", {"stdout": "1"}, note=driver)
        engine.delete("/containers/diff-log")


def addressed(engine):
    """an address of the whole container, as older clients say it"""
    address, other = "02:42:ac:11:00:77", "02:42:ac:11:00:78"
    for more in ({}, {"HostConfig": {"NetworkMode": "host"}}, {"HostConfig": {"NetworkMode": "none"}},
                 {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": other}}}}):
        for version in ("1.24", "1.43", "1.44", "1.51"):
            engine.post("/containers/create", {"name": "diff-addressed"}, {"Image": IMAGE, "MacAddress": address, **more},
                        version=version, note=f"{more}")
            engine.get("/containers/diff-addressed/json", version=version, note=f"{more}")
            engine.delete("/containers/diff-addressed", keep=False)


def refused(engine):
    """what is wrong with a description is refused alike"""
    for number, description in enumerate(REFUSED):
        told = str(description.get("HostConfig") or {key: value for key, value in description.items() if value != IMAGE})
        made = engine.post("/containers/create", {"name": f"diff-refused-{number}"}, description, note=told)
        if made.status == 201:
            engine.delete(f"/containers/diff-refused-{number}", {"v": "1", "force": "1"}, keep=False)
    for body in (b"", b"{", b"[]", b"\"x\"", b"3", b"null", b"{\"Image\": 3}", b"{\"Image\": \"x\", \"Cmd\": 3}", b"{}{}",
                 b"{\"Image\": \"" + IMAGE.encode() + b"\", \"NoSuchField\": 1, \"Cmd\": [\"x\"]} trailing"):
        made = engine.post("/containers/create", {"name": "diff-json"}, body,
                           headers={"Content-Type": "application/json"}, note=f"{body[:60]!r}")
        if made.status == 201:
            engine.delete("/containers/diff-json", keep=False)
    engine.post("/containers/create", {"name": "diff-json"}, b'{"Image":"x"}', headers={"Content-Type": "text/plain"},
                note="no JSON by its type")
    for name in ("-x", "x y", "a/b", "x" * 300, "ä"):
        made = engine.post("/containers/create", {"name": name}, {"Image": IMAGE}, note="name")
        if made.status == 201:
            engine.delete(f"/containers/{made.id()}", keep=False)
    engine.post("/containers/create", {"name": "diff-twice"}, {"Image": IMAGE})
    engine.post("/containers/create", {"name": "diff-twice"}, {"Image": IMAGE})
    engine.delete("/containers/diff-twice")
    engine.post("/containers/create", {"name": "diff-x", "platform": "linux/no-such"}, {"Image": IMAGE})
    engine.post("/containers/create", {"name": "diff-x", "platform": "windows/amd64"}, {"Image": IMAGE})


def unknown(engine):
    """a container that does not exist"""
    for method, verbs in {
        "GET": ("json", "top", "logs?stdout=1", "changes", "export", "stats?stream=0", "archive?path=/x", "attach/ws"),
        "POST": ("start", "stop", "restart", "kill", "pause", "unpause", "rename?name=x", "wait", "resize?h=1&w=1", "attach",
                 "wait?condition=removed"),
    }.items():
        for verb in verbs:
            path, _, query = verb.partition("?")
            engine.ask(method, f"/containers/diff-none/{path}", query)
    engine.post("/containers/diff-none/update", body={"Memory": 67108864})
    engine.post("/containers/diff-none/exec", body={"Cmd": ["true"]})
    engine.ask("HEAD", "/containers/diff-none/archive", {"path": "/x"})
    engine.ask("PUT", "/containers/diff-none/archive", {"path": "/x"}, b"")
    engine.delete("/containers/diff-none")
    engine.delete("/containers/diff-none", {"force": "1"})
    engine.delete("/containers/diff-none", {"link": "1"})
    engine.post("/commit", {"container": "diff-none"}, {})
    engine.post("/commit", {"container": "diff-none"})
    for verb in ("json", "start", "resize?h=1&w=1"):
        path, _, query = verb.partition("?")
        engine.ask("GET" if path == "json" else "POST", f"/exec/diff-none/{path}", query,
                   body={} if path == "start" else None)


def listed(engine):
    """lists and their filters"""
    for number in (1, 2):
        engine.post("/containers/create", {"name": f"diff-list-{number}"}, {
            "Image": IMAGE, "Cmd": ["sleep", "1000"], "Labels": {"diff": "list", "number": str(number)},
            "ExposedPorts": {"80/tcp": {}}, "HostConfig": {"Binds": ["diff-listed:/data"]}})
    engine.post("/containers/diff-list-1/start")
    for version in ("1.24", "1.40", "1.44", "1.51"):
        engine.get("/containers/json", {"filters": {"label": ["diff=list"]}, "all": "1"}, version=version)
    ours = {"label": ["diff=list"]}
    for more in ({"status": ["running"]}, {"status": ["created"]}, {"status": ["no-such"]}, {"name": ["diff-list-2"]},
                 {"name": ["^/diff-list-1$"]}, {"name": ["("]}, {"before": ["diff-list-2"]}, {"since": ["diff-list-1"]},
                 {"before": ["no-such"]}, {"since": ["no-such"]}, {"ancestor": [IMAGE]}, {"ancestor": ["no-such"]},
                 {"volume": ["diff-listed"]}, {"volume": ["/data"]}, {"network": ["bridge"]}, {"network": ["none"]},
                 {"network": ["no-such"]}, {"health": ["none"]}, {"health": ["healthy"]}, {"health": ["no-such"]},
                 {"exited": ["0"]}, {"exited": ["x"]}, {"expose": ["80"]}, {"expose": ["80/tcp"]}, {"expose": ["1-100"]},
                 {"expose": ["x"]}, {"publish": ["80"]}, {"publish": ["x"]}, {"label": ["diff=list", "number=2"]},
                 {"is-task": ["false"]}, {"is-task": ["true"]}, {"is-task": ["x"]}, {"isolation": ["default"]},
                 {"no-such": ["x"]}):
        engine.get("/containers/json", {"filters": {**ours, **more}, "all": "1"})
        engine.get("/containers/json", {"filters": {**ours, **more}})
    engine.get("/containers/json", {"filters": {"label": {"diff=list": True}}, "limit": "1"})
    for query in ({"limit": "x"}, {"limit": "-1", "filters": ours}, {"all": "maybe", "filters": ours}, {"size": "1", "filters": ours},
                  {"filters": "{"}, {"filters": "[]"}, {"filters": "{\"label\": \"x\"}"}, {"filters": "null"},
                  {"filters": "{\"label\":[1]}"}, {"filters": ""}, {"filters": "{}", "limit": "0", "all": "0"}):
        if query.get("filters") in ("null", "", "{}"):
            engine.get("/containers/json", query, note="list", keep=False)
        else:
            engine.get("/containers/json", query)
    engine.delete("/containers/diff-list-1")
    for number in (1, 2):
        engine.delete(f"/containers/diff-list-{number}", {"force": "1", "v": "1"})
    engine.delete("/volumes/diff-listed")
    engine.post("/containers/prune", {"filters": {"label": ["diff=list"]}})
    for filters in ({"no-such": ["x"]}, {"until": ["x"]}, "{"):
        engine.post("/containers/prune", {"filters": filters})


CASES = (described, addressed, refused, unknown, listed)
