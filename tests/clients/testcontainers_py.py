"""testcontainers for Python, with a real database and a real cache."""

import psycopg2
import redis
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

from support import STACK, equal, steps, until

DATABASE = ("/usr/lib/postgresql/15/bin/postgres --config-file=/etc/postgresql/15/main/postgresql.conf "
            "-chba_file=/tmp/hba.conf -clisten_addresses=* -cunix_socket_directories=/tmp")


def database():
    """a database whose log says when it is ready"""
    container = (DockerContainer(STACK, user="postgres", entrypoint=["sh", "-c"])
                 .with_command([f"echo 'host all all all trust' > /tmp/hba.conf; exec {DATABASE}"])
                 .with_exposed_ports(5432)
                 .waiting_for(LogMessageWaitStrategy("ready to accept connections").with_startup_timeout(180)))
    with container as server:
        with psycopg2.connect(host=server.get_container_host_ip(), port=server.get_exposed_port(5432),
                              user="postgres", dbname="postgres") as connection:
            with connection.cursor() as cursor:
                cursor.execute("create table t (n int); insert into t select generate_series(1, 1000); select sum(n) from t")
                equal(cursor.fetchone()[0], 500500)


def cache():
    """two containers on a network of their own"""
    with Network() as network:
        with DockerContainer(STACK).with_command("redis-server --protected-mode no").with_network(network) \
                .with_network_aliases("memory").with_exposed_ports(6379) as server:
            client = redis.Redis(server.get_container_host_ip(), int(server.get_exposed_port(6379)))
            until("the cache answers", lambda: ping(client))
            client.set("key", "value")
            with DockerContainer(STACK).with_command("sleep 1000").with_network(network) as peer:
                code, output = peer.exec(["redis-cli", "-h", "memory", "get", "key"])
                equal((code, output), (0, b"value\n"))


def ping(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


steps(database, cache)
