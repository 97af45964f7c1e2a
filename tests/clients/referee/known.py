"""What differs and is meant to, each with its reason."""

import re

from .compare import Known

# Figures, addresses and moments as numbers: that there is one, and of which kind, is compared.
LOOSE = re.compile(
    r"(^|\.)(Pid|MacAddress|IPAddress|Created|time|timeNano|Size|SizeRw|SizeRootFs|SharedSize|VirtualSize|LayersSize|"
    r"SpaceReclaimed|Containers|execDuration|NEventsListener|NFd|NGoroutines|MemTotal|NCPU|LinkLocalIPv6Address)$"
    r"|(^|\.)(cpu_stats|precpu_stats|memory_stats|networks|blkio_stats|pids_stats)\."
    r"|^Processes\[\]\[\]$"
)

EVERYWHERE = ""


def known(what, why, where=EVERYWHERE, **more):
    return Known(where, what, why, **more)


KNOWN = [
    # What this engine is.
    known(r"header builder-version", "there is no BuildKit", where=r"_ping"),
    known(r"(BuildTime|GitCommit|GoVersion|KernelVersion|Platform\.Name|Version|Components.*)",
          "the engine is another program", where=r"/version"),
    known(r"(CDISpecDirs.*|CgroupVersion|Containerd.*|DefaultRuntime|DockerRootDir|Driver|DriverStatus.*|ID|InitBinary|"
          r"KernelVersion|KernelMemory.*|LiveRestoreEnabled|Name|OSVersion|OomKillDisable|OperatingSystem|Plugins\..*|RuncCommit.*|"
          r"InitCommit.*|Runtimes\..*|SecurityOptions.*|ServerVersion|SystemStatus|FirewallBackend.*|BridgeNf.*|RegistryConfig\..*|Warnings.*|"
          r"Containers\w*|Images)",
          "info is of another program, kernel and version of cgroups", where=r"/info"),
    known(r"(.*\.)?(Driver|GraphDriver\..*)", "the writable layers are the guest's own, without a graph driver",
          where=r"GET /(containers|images)/"),
    known(r"(.*\.)?(Mountpoint|Mounts\[\]\.Source|Volumes\[\]\.Mountpoint)", "volumes lie elsewhere"),
    known(r"(ResolvConfPath|HostnamePath|HostsPath|LogPath|NetworkSettings\.Sandbox(ID|Key))", "files in the guest are not told"),
    known(r"State\.Shim(Pid|Resident)", "these are this engine's own", where=r"GET /containers/"),
    known(r"(Digest|DockerVersion|Metadata\.LastTagTime|Config\.Volumes)", "the image's manifest is told, who made it when is not",
          where=r"GET /images/"),
    known(r"HostConfig\.(CgroupnsMode|OomKillDisable|SecurityOpt|Runtime)",
          "defaults of version 2 of cgroups, of no SELinux and of the runtime here"),
    known(r"Config\.Hostname", "the guest's name is its own", where=r"diff-hosted|'NetworkMode': 'host'"),
    known(r"(cpu_stats|precpu_stats|memory_stats|blkio_stats|pids_stats|networks|num_procs|storage_stats|preread|read).*",
          "figures of version 2 of cgroups are others than those of version 1", where=r"/stats"),
    # What Docker tells and Wherry, or the other way round.
    known(r"(.*\.)?DNSNames.*", "names are found on the default bridge too, and are told in another order"),
    known(r"NetworkSettings\.(EndpointID|Gateway|IPAddress|IPPrefixLen|MacAddress)",
          "the address on the first network is told where Docker tells that on the default bridge alone"),
    known(r"(.*\.)?(IPAM\.(Config\[\]\.(Gateway|Subnet)|Options)|Attachable|Options\..*|EnableIPv4)",
          "the gateway that was chosen is told, the options of Docker's own bridge and Attachable are not", where=r"/networks"),
    known(r"State\.(FinishedAt|ExitCode|Error)", "a restart forgets the end before it; a start that failed is 125 or the like, in words without the runtime's",
          where=r"\((updated|connected, running|disconnected|\[.*\])\)"),
    known(r"Pid", "an exec that ended has no process any more", where=r"GET /exec/"),
    known(r"(id|name)", "a first read has the container's name too", where=r"one-shot=1"),
    known(r"Parent|\[\]\.(Id|Tags)", "images have no parents", where=r"GET /images/diff/look:\d/"),
    known(r"\.", "etc/mtab is not made", where=r"/export"),
    known(r"NetworkSettings\.Networks\.bridge\.NetworkID", "a start that is refused came onto no network, in dockerd onto those before it",
          where=r"\((connected, running|disconnected)\)", sometimes=True),
    known(r"ExecIDs", "an exec of one word is made here", where=r"\(with an exec\)"),
    known(r"1", "an exec that cannot run says so without the runtime's words", where=r"life\.executed: POST /exec/<id>/start"),
    known(r"Mounts\[\]\.Mode|.*\.Mounts\[\]\.Mode", "there is no SELinux, whose z Docker notes with volumes"),
    # Headers.
    known(r"header (api-version|ostype|docker-experimental)", "the engine says what it is in every answer"),
    # Errors.
    known(r"header content-type|\.", "an error is JSON", where=r"v(1\.23|0\.9)$|POST /containers/diff-none/attach|attach\?.*(detachKeys|\(paused\))"),
    known(r"header x-docker-container-path-stat\.(linkTarget|name)|\.", "a link's target is what stands in it, and the root's name is .; the files that "
          "are mounted over are not made in the image", where=r"life\.carried: (HEAD|GET) .*/archive"),
    known(r"\[\]\.status", "a manifest is OCI's", where=r"images\.moved: push"),
    known(r"\.", "containers that do not run have ports too, and references in full are found", where=r"\"expose\"|docker\.io/referee"),
    known(r"\.", "an event is chosen by the kind that a filter names, not by names alone", where=r"events \{'(network|volume)'"),
    known(r"message|error|errorDetail\.message|State\.Error", "an error says in its own words what to do; those that clients look for are compared"),
]


# What clients, Docker's own command among them, look for in errors.
SOUGHT = ("No such container", "No such image", "no such image", "No such exec instance", "is already in use by container", "is not running", "is not paused",
          "is already paused", "no such volume", "has active endpoints", "volume is in use", "page not found", "client version",
          "executable file not found", "permission denied", "conflict: unable to", "cannot remove", "port is already allocated")


def is_loose(path):
    return bool(LOOSE.search(path))


def is_known(label, path, ours, theirs):
    """Whether a difference between two answers is meant."""
    if path == "status":
        return is_refusal(ours, theirs)
    if path in ("message", "error") and isinstance(theirs.content(), dict):
        said = [str(answer.content().get(path, "")) for answer in (ours, theirs)]
        # What clients take for each other.
        said = [text.replace("is a directory", "permission denied") for text in said]
        if any((words in said[0]) != (words in said[1]) for words in SOUGHT if not is_other(words, label)):
            return False
    return any(each.holds(label, path) for each in KNOWN)


def is_other(words, label):
    """Whether two errors tell of different things: what was refused when it was made is not there later."""
    return words == "No such container" and ("diff-lost" in label or "/disconnect" in label)


def is_refusal(ours, theirs):
    """Two errors of which dockerd's is one of its own that it takes for the server's: what a client wrote wrong is
    the client's error here."""
    return theirs.status == 500 and 400 <= ours.status
