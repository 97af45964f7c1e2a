"""The image of the calls: the same bytes for both engines, so that its ids are the same too."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile

IMAGE = "referee/busybox:1"
# A folder of this computer that containers mount.
FOLDER = tempfile.mkdtemp(prefix="referee-", dir=os.environ.get("CLIENTS_FOLDER"))
# Of a moment that stays: what is made of it is the same each time.
CREATED = "2024-05-06T07:08:09Z"


def entry(archive, name, content=None, mode=0o644, link=None):
    told = tarfile.TarInfo(name)
    told.mode = mode
    if link is not None:
        told.type, told.linkname = tarfile.SYMTYPE, link
    elif content is None:
        told.type = tarfile.DIRTYPE
    else:
        told.size = len(content)
    archive.addfile(told, io.BytesIO(content) if content is not None else None)


def root():
    """A root file system of Debian's static busybox."""
    program = shutil.which("busybox")
    with open(program, "rb") as file:
        busybox = file.read()
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "root", "tmp", "proc", "sys", "dev"):
            entry(archive, folder, mode=0o1777 if folder == "tmp" else 0o755)
        entry(archive, "bin/busybox", busybox, mode=0o755)
        for name in names:
            if name != "busybox":
                entry(archive, f"bin/{name}", link="busybox", mode=0o777)
        entry(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1000::/tmp:/bin/sh\n")
        entry(archive, "etc/group", b"root:x:0:\nsailor:x:1000:\n")
        entry(archive, "etc/note", b"a note\n")
        entry(archive, "etc/link", link="note", mode=0o777)
    return buffer.getvalue()


def archive(name=IMAGE, config=None):
    """An archive of one image as `docker save` writes it."""
    layer = root()
    second = io.BytesIO()
    with tarfile.open(fileobj=second, mode="w") as tree:
        entry(tree, "etc/second", b"layer\n")
    layers = [layer, second.getvalue()]
    description = json.dumps({
        "architecture": "amd64", "os": "linux", "created": CREATED, "author": "somebody",
        "config": {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["/bin/sh"], "Labels": {"image": "label"},
                   "ExposedPorts": {"8000/tcp": {}}, "WorkingDir": "/root", **(config or {})},
        "history": [{"created": CREATED, "created_by": "/bin/sh -c #(nop) ADD file in /", "comment": "first"},
                    {"created": CREATED, "created_by": "/bin/sh -c true", "empty_layer": True},
                    {"created": CREATED, "created_by": "/bin/sh -c echo layer > /etc/second"}],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as whole:
        config_name = f"{hashlib.sha256(description).hexdigest()}.json"
        entry(whole, config_name, description)
        for number, layer in enumerate(layers):
            entry(whole, f"{number}/layer.tar", layer)
        entry(whole, "manifest.json", json.dumps([{
            "Config": config_name, "RepoTags": [name],
            "Layers": [f"{number}/layer.tar" for number in range(len(layers))]}]).encode())
    return buffer.getvalue()
