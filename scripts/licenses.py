#!/usr/bin/env python3
"""Prints the licences of every library that is compiled into the program, for its package.

Reads what `cargo metadata` says of a normal build on this platform, and the licence files in the libraries'
sources. A text that several libraries share is printed once.
"""

import json
import pathlib
import re
import subprocess
import sys

FILE = re.compile(r"(licen[cs]e|copying|notice|unlicense)", re.IGNORECASE)


def libraries():
    """The packages in the program, its own left out, by name and version."""
    host = subprocess.check_output(["rustc", "-vV"], text=True)
    host = re.search(r"^host: (\S+)$", host, re.MULTILINE).group(1)
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host]
    told = json.loads(subprocess.check_output(command))
    packages = {package["id"]: package for package in told["packages"]}
    nodes = {node["id"]: node for node in told["resolve"]["nodes"]}
    own = told["resolve"]["root"]
    found, open_ids = {own}, [own]
    while open_ids:
        for dependency in nodes[open_ids.pop()]["deps"]:
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                open_ids.append(dependency["pkg"])
    found.remove(own)
    return sorted((packages[id] for id in found), key=lambda it: (it["name"], it["version"]))


def main():
    users, unnamed = {}, []
    packages = libraries()
    print("The libraries in this program, and their licences\n")
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license'] or 'see its licence file'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted(it for it in folder.iterdir() if it.is_file() and FILE.match(it.name))
        if not files and not package["license"]:
            unnamed.append(name)
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace").strip()
            users.setdefault(" ".join(text.split()), (text, []))[1].append(name)
    for text, names in users.values():
        print(f"\n{'=' * 78}\n{', '.join(names)}\n{'=' * 78}\n\n{text}")
    if unnamed:
        sys.exit(f"no licence was found of {', '.join(unnamed)}")


if __name__ == "__main__":
    main()
