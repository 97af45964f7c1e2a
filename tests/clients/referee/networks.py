"""Networks and volumes."""

from .image import IMAGE

VERSIONS = ("1.24", "1.40", "1.44", "1.51")


def networks(engine):
    """networks made, told of and removed"""
    made = engine.post("/networks/create", body={"Name": "diff-net"})
    engine.post("/networks/create", body={"Name": "diff-net"}, note="again")
    for version in VERSIONS:
        engine.get("/networks/diff-net", version=version)
        engine.get("/networks", {"filters": {"name": ["diff-net"]}}, version=version)
    engine.get(f"/networks/{made.id()[:12]}", note="by short id")
    engine.get("/networks/diff-net", {"verbose": "1"})
    for scope in ("local", "swarm", "no-such"):
        engine.get("/networks/diff-net", {"scope": scope})
    for name in ("bridge", "host", "none"):
        engine.get(f"/networks/{name}")
        engine.delete(f"/networks/{name}")
        engine.post("/networks/create", body={"Name": name})
    full = {"Name": "diff-full", "Driver": "bridge", "Internal": True, "Attachable": True, "Labels": {"a": "b"},
            "Options": {"com.docker.network.bridge.name": "diffbr", "com.docker.network.driver.mtu": "1400"},
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.96.0.0/24", "Gateway": "10.96.0.9", "IPRange": "10.96.0.64/26",
                                                     "AuxiliaryAddresses": {"router": "10.96.0.70"}}], "Options": {}}}
    engine.post("/networks/create", body=full, note="everything")
    engine.get("/networks/diff-full")
    engine.delete("/networks/diff-full")
    six = {"Name": "diff-six", "EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "fd00:96::/64"}]}}
    engine.post("/networks/create", body=six, note="IPv6")
    engine.get("/networks/diff-six")
    engine.delete("/networks/diff-six")
    for body in ({}, {"Name": ""}, {"Name": "x/y"}, {"Name": " x"}, {"Name": "diff-bad", "Driver": "no-such"}, {"Name": "diff-bad", "IPAM": {"Driver": "no-such"}},
                 {"Name": "diff-bad", "IPAM": {"Config": [{"Subnet": "x"}]}}, {"Name": "diff-bad", "IPAM": {"Config": [{"Subnet": "10.95.0.1/24"}]}},
                 {"Name": "diff-bad", "IPAM": {"Config": [{"Subnet": "10.95.0.0/24", "Gateway": "10.94.0.1"}]}},
                 {"Name": "diff-bad", "IPAM": {"Config": [{"Subnet": "10.95.0.0/24", "IPRange": "10.94.0.0/24"}]}},
                 {"Name": "diff-bad", "IPAM": {"Config": [{"Gateway": "10.94.0.1"}]}}, {"Name": "diff-bad", "Scope": "swarm"},
                 {"Name": "diff-bad", "Driver": "host"}, {"Name": "diff-bad", "ConfigFrom": {"Network": "none-such"}, "ConfigOnly": False},
                 {"Name": "diff-bad", "Options": {"com.docker.network.driver.mtu": "x"}}):
        answer = engine.post("/networks/create", body=body, note=f"{body}")
        if answer.status == 201:
            engine.delete(f"/networks/{answer.id()}", keep=False)
    engine.post("/networks/create", body=b"{", note="no JSON")
    engine.post("/networks/create", body=b"", note="no body")
    for filters in ({"name": ["diff-net"]}, {"driver": ["no-such"]}, {"id": [made.id()[:12]]}, {"label": ["no"]}, {"scope": ["swarm"]},
                    {"type": ["custom"], "name": ["diff-net"]}, {"type": ["builtin"], "name": ["diff-net"]}, {"type": ["no-such"]},
                    {"dangling": ["true"], "name": ["diff-net"]}, {"dangling": ["false"], "name": ["diff-net"]}, {"dangling": ["x"]},
                    {"no-such": ["x"]}, "{"):
        engine.get("/networks", {"filters": filters})
    for filters in ({"no-such": ["x"]}, {"until": ["x"]}, {"label": ["no-such-label"]}, "{"):
        engine.post("/networks/prune", {"filters": filters})
    engine.get("/networks/no-such")
    engine.delete("/networks/no-such")
    engine.delete("/networks/diff-net")


def joined(engine):
    """containers on networks"""
    engine.post("/networks/create", body={"Name": "diff-join", "IPAM": {"Config": [{"Subnet": "10.93.0.0/24"}]}})
    engine.post("/containers/create", {"name": "diff-member"}, {
        "Image": IMAGE, "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "diff-join"},
        "NetworkingConfig": {"EndpointsConfig": {"diff-join": {"Aliases": ["friend"], "IPAMConfig": {"IPv4Address": "10.93.0.77"}}}}})
    engine.get("/containers/diff-member/json", note="created")
    engine.post("/containers/diff-member/start")
    engine.get("/containers/diff-member/json", note="running")
    engine.get("/networks/diff-join")
    engine.get("/containers/json", {"filters": {"name": ["diff-member"]}})
    engine.get("/networks", {"filters": {"name": ["diff-join"]}})
    engine.delete("/networks/diff-join", note="in use")
    engine.post("/containers/create", {"name": "diff-guest"}, {"Image": IMAGE, "Cmd": ["sleep", "1000"]})
    connect, leave = "/networks/diff-join/connect", "/networks/diff-join/disconnect"
    for body in ({"Container": "no-such"}, {}, {"Container": "diff-guest", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.1.1.1"}}},
                 {"Container": "diff-guest", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.93.0.77"}}},
                 {"Container": "diff-guest", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "x"}}},
                 {"Container": "diff-guest", "EndpointConfig": {"Aliases": ["a", "b"], "Links": ["diff-member:m"], "MacAddress": "02:42:0a:5d:00:05",
                                                               "DriverOpts": {"note": "kept"}, "GwPriority": 2}},
                 {"Container": "diff-guest"}):
        engine.post(connect, body=body, note=f"{body}")
    engine.get("/containers/diff-guest/json", note="connected, created")
    engine.post("/containers/diff-guest/start")
    engine.get("/containers/diff-guest/json", note="connected, running")
    engine.post(connect, body={"Container": "diff-guest"}, note="running, again")
    engine.post("/networks/no-such/connect", body={"Container": "diff-guest"})
    engine.post("/networks/host/connect", body={"Container": "diff-guest"})
    engine.post("/networks/none/connect", body={"Container": "diff-guest"})
    engine.post("/networks/host/disconnect", body={"Container": "diff-guest"})
    engine.post(leave, body={"Container": "diff-guest"})
    engine.post(leave, body={"Container": "diff-guest"}, note="again")
    engine.post(leave, body={"Container": "no-such"})
    engine.post(leave, body={"Container": "no-such", "Force": True})
    engine.post("/networks/no-such/disconnect", body={"Container": "diff-guest"})
    engine.post(connect, body=b"{", note="no JSON")
    engine.get("/containers/diff-guest/json", note="disconnected")
    engine.post("/containers/create", {"name": "diff-own"}, {"Image": IMAGE, "Cmd": ["sleep", "1000"]})
    for endpoint in ({"DriverOpts": {"com.docker.network.endpoint.sysctls": "net.ipv4.ip_forward=1"}}, {"IPAMConfig": {"LinkLocalIPs": ["x"]}},
                     {"Aliases": ["own"], "Links": ["diff-member:m"], "IPAMConfig": {"LinkLocalIPs": ["169.254.8.8"]}, "GwPriority": 2,
                      "DriverOpts": {"note": "kept", "com.docker.network.endpoint.ifname": "own0",
                                     "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}}):
        engine.post(connect, body={"Container": "diff-own", "EndpointConfig": endpoint}, note=f"{endpoint}")
    engine.post("/containers/diff-own/start")
    engine.get("/containers/diff-own/json", note="an interface of its own")
    look = "cat /proc/sys/net/ipv4/conf/own0/log_martians; grep -c 169.254.8.8 /proc/net/fib_trie; grep -o own0: /proc/net/dev"
    made = engine.post("/containers/diff-own/exec", body={"Cmd": ["sh", "-c", look], "AttachStdout": True, "AttachStderr": True})
    engine.hijack(f"/exec/{made.id()}/start", body={})
    for name in ("diff-own", "diff-guest", "diff-member"):
        engine.delete(f"/containers/{name}", {"force": "1"})
    engine.delete("/networks/diff-join")
    engine.post("/containers/create", {"name": "diff-lost"}, {"Image": IMAGE, "HostConfig": {"NetworkMode": "no-such-network"}})
    engine.post("/containers/diff-lost/start")
    engine.get("/containers/diff-lost/json")
    engine.delete("/containers/diff-lost", {"force": "1"}, keep=False)


def volumes(engine):
    """volumes"""
    for body in ({"Name": "diff-volume", "Labels": {"a": "b"}}, {"Name": "diff-volume"}, {"Name": "diff-plain", "Driver": "local"},
                 {"Name": "x/y"}, {"Name": "-x"}, {"Name": "x"}, {"Name": "diff-bad", "Driver": "no-such"},
                 {"Name": "diff-bad", "DriverOpts": {"no-such": "x"}}):
        answer = engine.post("/volumes/create", body=body, note=f"{body}")
        if answer.status == 201 and body["Name"] in ("x", "diff-bad"):
            engine.delete(f"/volumes/{body['Name']}", keep=False)
    for body in (b"{", b"", b"[]"):
        answer = engine.post("/volumes/create", body=body, note=f"{body!r}")
        if answer.status == 201:
            engine.delete(f"/volumes/{answer.json()['Name']}", keep=False)
    for version in VERSIONS:
        engine.get("/volumes/diff-volume", version=version)
        engine.get("/volumes", {"filters": {"name": ["diff-volume"]}}, version=version)
    for filters in ({"name": ["diff-volume"], "dangling": ["true"]}, {"name": ["diff-volume"], "dangling": ["false"]}, {"dangling": ["x"]},
                    {"label": ["a=b"]}, {"driver": ["no-such"]}, {"driver": ["local"], "name": ["diff-plain"]}, {"no-such": ["x"]}, "{"):
        engine.get("/volumes", {"filters": filters})
    engine.post("/containers/create", {"name": "diff-has"}, {"Image": IMAGE, "HostConfig": {"Binds": ["diff-volume:/data"]}})
    engine.delete("/volumes/diff-volume", note="in use")
    engine.delete("/volumes/diff-volume", {"force": "1"}, note="in use")
    engine.get("/volumes", {"filters": {"name": ["diff-volume"], "dangling": ["false"]}}, note="in use")
    engine.delete("/containers/diff-has")
    engine.get("/volumes/no-such")
    engine.delete("/volumes/no-such")
    engine.delete("/volumes/no-such", {"force": "1"})
    engine.ask("PUT", "/volumes/diff-volume", {"version": "1"}, {})
    for filters in ({"no-such": ["x"]}, {"label": ["no-such-label"]}, {"all": ["x"]}, {"all": ["1"], "label": ["a=b"]}, "{"):
        engine.post("/volumes/prune", {"filters": filters})
    engine.delete("/volumes/diff-volume", note="pruned")
    engine.delete("/volumes/diff-plain")


CASES = (networks, joined, volumes)
