#!/usr/bin/env python3
"""Pack plain files into an image that containerd (and `docker load`) imports, without any container engine.

    mkimg.py OUT.tar NAME:TAG ENTRYPOINT_JSON SOURCE=DESTINATION...
    mkimg.py --with-libraries ...   also packs the loader and the shared libraries of each program (ldd)

The result depends on its inputs only: same files, same image.
"""
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile


def libraries(program):
    """Loader and libraries of a dynamically linked program; none for a static one."""
    run = subprocess.run(["ldd", program], capture_output=True, text=True)
    if run.returncode != 0:
        return []
    if "not found" in run.stdout:
        sys.exit(f"mkimg.py: a library of {program} is missing:\n{run.stdout}")
    return re.findall(r"(/\S+) \(0x", run.stdout)


def layer_of(files):
    buffer, seen = io.BytesIO(), set()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        def folder(path, mode=0o755):
            if path and path not in seen:
                folder(os.path.dirname(path))
                seen.add(path)
                info = tarfile.TarInfo(path)
                info.type, info.mode = tarfile.DIRTYPE, mode
                tar.addfile(info)

        folder("tmp", 0o1777)
        for source, destination in files:
            destination = destination.lstrip("/")
            if destination in seen:
                continue
            folder(os.path.dirname(destination))
            seen.add(destination)
            with open(os.path.realpath(source), "rb") as file:
                data = file.read()
            info = tarfile.TarInfo(destination)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def main():
    args = sys.argv[1:]
    with_libraries = args[:1] == ["--with-libraries"]
    if with_libraries:
        args = args[1:]
    if len(args) < 4:
        sys.exit(__doc__)
    out, name, entrypoint, *pairs = args
    files = [tuple(pair.split("=", 1)) for pair in pairs]
    if with_libraries:
        files += [(path, path) for source, _ in list(files) for path in libraries(source)]
    layer = layer_of(files)
    layer_digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": json.loads(entrypoint), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer_digest]},
        "history": [{}],
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps(
        [{"Config": config_name, "RepoTags": [name], "Layers": [layer_digest + "/layer.tar"]}]).encode()
    with tarfile.open(out + ".part", "w") as tar:
        for path, data in ((config_name, config), ("manifest.json", manifest), (layer_digest + "/layer.tar", layer)):
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    os.replace(out + ".part", out)


main()
