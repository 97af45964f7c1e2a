"""testcontainers for Python against the engine that DOCKER_HOST names.

    python3 -m venv env && env/bin/pip install testcontainers
    eval "$(wherry docker-env)"
    env/bin/python tests/clients/testcontainers_python.py IMAGE

IMAGE has busybox; it must be there already. The reaper is left out: it mounts
the engine's socket, which a container cannot have here.
"""

import os
import sys
import urllib.request

os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
os.environ.setdefault("TESTCONTAINERS_HOST_OVERRIDE", "localhost")

from testcontainers.core.container import DockerContainer  # noqa: E402
from testcontainers.core.network import Network  # noqa: E402
from testcontainers.core.waiting_utils import wait_for_logs  # noqa: E402

image = sys.argv[1]
serve = ["sh", "-c", "echo served > /index.html; echo ready; exec busybox httpd -f -p 80 -h /"]
with Network() as network:
    server = DockerContainer(image).with_command(serve).with_exposed_ports(80)
    with server.with_network(network).with_network_aliases("server") as server:
        wait_for_logs(server, "ready", timeout=60)
        address = f"http://localhost:{server.get_exposed_port(80)}/"
        assert urllib.request.urlopen(address).read() == b"served\n"
        with DockerContainer(image).with_command("sleep 1000").with_network(network) as client:
            code, output = client.exec(["busybox", "nc", "server", "80"])
            assert code == 0, output
print("ok")
