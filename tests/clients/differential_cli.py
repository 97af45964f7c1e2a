"""The docker command on the engine and on dockerd: what it prints, in text and in JSON, and how it ends."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

from referee.compare import settled
from referee.image import IMAGE, archive
from support import PATIENCE

folder = tempfile.mkdtemp(prefix="differential-", dir=os.environ.get("CLIENTS_FOLDER"))

# What the two need not agree on, in any line.
VARYING = [
    (re.compile(r"\b\d+(\.\d+)?\s?(B|kB|MB|GB|KiB|MiB|GiB)\b"), "<size>"),
    (re.compile(r"\b\d+(\.\d+)?%"), "<percent>"),
    (re.compile(r"(About a|\d+) (second|minute|hour|week|month|year)s? ago"), "<since>"),
    (re.compile(r"Up (Less than a second|About a minute|\d+ (second|minute)s?)"), "<since>"),
    (re.compile(r"\b(172|10)\.\d+\.\d+\.\d+\b"), "<address>"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "<short>"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC"), "<date>"),
    (re.compile(r"127\.0\.0\.1:\d+->"), "<port>->"),
    (re.compile(r" {2,}"), "  "),
]

# Each is one step: the next sees what it made. Of those behind a bang only how they end is compared.
COMMANDS = """
create --name cmd-one --label of=cmd --hostname one --env A=b --memory 64m --volume cmd-data:/data IMAGE sleep 1000
ps --all --no-trunc --filter label=of=cmd --format json
ps --all --filter label=of=cmd --format {{.Names}}|{{.Status}}|{{.Ports}}|{{.Networks}}|{{.Mounts}}|{{.LocalVolumes}}|{{.State}}
container ls --all --quiet --filter name=cmd-one
start cmd-one
ps --filter label=of=cmd
ps --filter label=of=cmd --size
container inspect --format {{.State.Status}}|{{.Config.Hostname}}|{{.HostConfig.Memory}}|{{json.Mounts}} cmd-one
inspect --type container --format {{json.HostConfig.RestartPolicy}} cmd-one
inspect --format {{range$name,$net:=.NetworkSettings.Networks}}{{$name}}{{end}} cmd-one
exec cmd-one echo said
exec --env B=c --workdir /tmp --user sailor cmd-one sh -c pwd;id;echo$B
exec cmd-one no-such-program
exec cmd-one sh -c exit\t7
exec cmd-none true
top cmd-one -o pid,args
diff cmd-one
port cmd-one
logs cmd-one
pause cmd-one
ps --filter label=of=cmd --format {{.Status}}
exec cmd-one true
unpause cmd-one
rename cmd-one cmd-two
update --memory 96m --memory-swap 96m cmd-two
stats --no-stream --format {{.Name}}|{{.PIDs}} cmd-two
rm cmd-two
kill --signal NOSUCH cmd-two
stop --timeout 0 cmd-two
wait cmd-two
ps --all --filter label=of=cmd --format {{.Status}}
start no-such
stop no-such
rm no-such
inspect no-such
logs no-such
commit --message said cmd-two cmd/made:1
images cmd/made
images --format json cmd/made
images --no-trunc --format {{.Repository}}:{{.Tag}} cmd/made
history --format {{.CreatedBy}}|{{.Comment}} cmd/made:1
history --no-trunc --quiet IMAGE
history IMAGE
image inspect --format {{json.Config}} IMAGE
image inspect --format {{.Os}}/{{.Architecture}}|{{.Author}}|{{len.RootFS.Layers}}|{{.RepoTags}} IMAGE
tag IMAGE cmd/tagged:2
tag no-such cmd/tagged:2
rmi cmd/tagged:2
rmi cmd/made:1
rmi no-such
image ls --filter reference=referee/* --format {{.Repository}}:{{.Tag}}|{{.ID}}
image prune --force
run --rm IMAGE echo ran
run --rm IMAGE no-such-program
run --rm IMAGE /tmp
run --rm IMAGE sh -c exit\t3
run --rm --network no-such-network IMAGE true
run --rm no-such-image:none true
run --rm --memory 1k IMAGE true
run --rm --name cmd-two IMAGE true
run --detach --rm --name cmd-port --publish 127.0.0.1::80 IMAGE sleep 1000
port cmd-port
ps --filter name=cmd-port --format {{.Ports}}
rm --force cmd-port
network ls --filter name=bridge --format {{.Name}}|{{.Driver}}|{{.Scope}}
network ls --filter type=builtin
network create --label of=cmd --subnet 10.92.0.0/24 cmd-net
network create --subnet 10.92.0.0/24 cmd-other
network create cmd-net
network inspect --format {{.Name}}|{{.Driver}}|{{.Internal}}|{{json.Labels}}|{{json.Containers}} cmd-net
network connect cmd-net cmd-two
network disconnect cmd-net cmd-two
network rm no-such
network inspect no-such
network rm bridge
network rm cmd-net
network prune --force --filter label=of=cmd
volume create --label of=cmd cmd-volume
volume ls --filter name=cmd-
volume ls --format json --filter name=cmd-volume
volume inspect --format {{.Name}}|{{.Driver}}|{{.Scope}}|{{json.Labels}}|{{json.Options}} cmd-volume
volume rm no-such
volume inspect no-such
volume rm cmd-data
volume rm cmd-volume
rm --volumes cmd-two
volume rm cmd-data
volume prune --force --filter label=of=cmd
container prune --force --filter label=of=cmd
system df --format {{.Type}}
cp no-such:/etc/note FOLDER
cp FOLDER/no-such cmd-two:/tmp
save --output FOLDER/saved.tar IMAGE
load --input FOLDER/saved.tar
load --quiet --input FOLDER/saved.tar
save --output FOLDER/saved.tar no-such
import FOLDER/root.tar cmd/imported:1
rmi cmd/imported:1
node ls
service ls
stack ls
secret ls
config ls
swarm leave
swarm ca
plugin ls
plugin inspect no-such
checkpoint ls no-such
context ls --format {{.Name}}
search --limit 1000 x
info --format {{.OSType}}|{{.Swarm.LocalNodeState}}|{{.DefaultRuntime|len|lt0}}
version --format {{.Server.Os}}|{{.Server.APIVersion}}|{{.Server.MinAPIVersion}}
builder prune --force
logout localhost:1
""".strip().splitlines()

# What is printed differently and is meant to be, by the command.
KNOWN = {
    r"^inspect --type|^image inspect .*Config": "the order of keys is not that of Docker's types",
    r"^(run|exec) .*(no-such-program|/tmp)": "the reason is told without the runtime's words",
    r"^top": "process ids are others",
    r"^diff": "the places of mounts are no changes",
    r"^exec cmd-one true|^network connect no-such": "an error says in its own words what to do",
    r"^volume ls --format json": "volumes lie elsewhere",
    r"^search": "the words are the client's",
    r"^kill --signal|^run .*(--memory 1k|no-such-network)|^tag no-such|^start|^rm cmd-two|^save .*no-such|^network (create --subnet|rm no-such|rm bridge)|^network create cmd-net":
        "an error says in its own words what to do",
    r"^run --rm no-such-image": "the registry is asked by the guest, and cannot be reached in its own words",
    r"^swarm leave|^swarm ca": "there is no swarm, in its own words",
    r"^ps .*--no-trunc|container inspect": "volumes lie elsewhere",
    r"^system df": "the client asks for what Docker has of builds",
    r"^builder": "there is no BuildKit, which has its own words",
}


def words(line):
    text = line.replace("IMAGE", IMAGE).replace("FOLDER", folder)
    return [word.replace("\t", " ").replace("echo$B", "echo $B").replace("{{json.", "{{json .").replace("{{len.", "{{len .")
            .replace("{{range$", "{{range $") for word in text.split(" ")]


def ask(host):
    environment = {**os.environ, "DOCKER_HOST": host}
    subprocess.run(["docker", "load", "--quiet"], input=archive(), env=environment, check=True, capture_output=True, timeout=PATIENCE)
    answers = []
    for line in COMMANDS:
        done = subprocess.run(["docker", *words(line)], env=environment, capture_output=True, text=True, timeout=PATIENCE)
        answers.append((done.returncode, normal(done.stdout), normal(done.stderr)))
    return answers


def normal(text):
    lines = []
    for line in settled(text).splitlines():
        for pattern, word in VARYING:
            line = pattern.sub(word, line)
        lines.append(line.rstrip())
    # Of a progress only the end is told without a terminal.
    return lines


def clear(host):
    environment = {**os.environ, "DOCKER_HOST": host}
    for command in (["rm", "--force", "--volumes", "cmd-one", "cmd-two", "cmd-port"], ["network", "rm", "cmd-net", "cmd-other"],
                    ["volume", "rm", "cmd-data", "cmd-volume"]):
        subprocess.run(["docker", *command], env=environment, capture_output=True, timeout=PATIENCE)


def main():
    with tarfile.open(os.path.join(folder, "root.tar"), "w") as tree:
        told = tarfile.TarInfo("a-file")
        told.size = 4
        tree.addfile(told, io.BytesIO(b"text"))
    answers = {}
    for host in (os.environ["REFEREE_HOST"], os.environ["DOCKER_HOST"]):
        clear(host)
        try:
            answers[host] = ask(host)
        finally:
            clear(host)
    found = 0
    for number, line in enumerate(COMMANDS):
        theirs, ours = (answers[host][number] for host in (os.environ["REFEREE_HOST"], os.environ["DOCKER_HOST"]))
        why = next((why for pattern, why in KNOWN.items() if re.search(pattern, line)), None)
        # How it ends is compared of all.
        if ours == theirs or (why and ours[0] == theirs[0]):
            continue
        found += 1
        print(f"  docker {line}")
        for what, left, right in zip(("ends with", "prints", "complains"), ours, theirs):
            if left != right:
                print(f"    {what} {left!r}\n    and dockerd {right!r}")
    print(f"  {len(COMMANDS)} commands, {found} unexpected differences")
    sys.exit(1 if found else 0)


try:
    main()
finally:
    shutil.rmtree(folder)
