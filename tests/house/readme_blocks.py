#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles the programs in README.md and docs/*.md.

Every ```cpp block that has an `int main(` is a program and must compile. One that stands behind an
HTML comment `<!-- run -->` is run as well and must end with 0; where a ```text block follows it, that
is what it must print.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```([\w+-]*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
RUN = "<!-- run -->"


class Program:
    def __init__(self, place, name, text, is_run, expected):
        self.place = place
        self.name = name
        self.text = text
        self.is_run = is_run
        self.expected = expected


def programs_of(path):
    text = path.read_text(encoding="utf-8")
    blocks = list(FENCE.finditer(text))
    for index, block in enumerate(blocks):
        if block[1] != "cpp" or "int main(" not in block[2]:
            continue
        before = text[blocks[index - 1].end() if index else 0 : block.start()]
        is_run = before.rstrip().endswith(RUN)
        follower = blocks[index + 1] if index + 1 < len(blocks) else None
        # Prose may stand between a program and its output, but no heading and no other program.
        is_output = (
            follower is not None
            and follower[1] == "text"
            and not re.search(r"^#", text[block.end() : follower.start()], re.MULTILINE)
        )
        line = text.count("\n", 0, block.start()) + 1
        yield Program(
            place=f"{path.relative_to(ROOT)}:{line}",
            name=f"{path.stem}_{line}",
            text=block[2],
            is_run=is_run,
            expected=follower[2] if is_run and is_output else None,
        )


def check(program, compiler, work):
    """Returns what is wrong with the program, or None."""
    source = work / f"{program.name}.cpp"
    binary = work / program.name
    source.write_text(program.text, encoding="utf-8")
    command = [*compiler, "-std=c++20", "-O0", "-pthread", "-Wall", "-Wextra"]
    command += [f"-I{ROOT / 'include'}", str(source)]
    command += ["-o", str(binary)] if program.is_run else ["-fsyntax-only"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        return "does not compile\n" + built.stderr
    if not program.is_run:
        return None
    try:
        done = subprocess.run([str(binary)], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "did not end within 60 s"
    if done.returncode != 0:
        return f"ended with {done.returncode}\n{done.stdout}{done.stderr}"
    if program.expected is not None and done.stdout != program.expected:
        return f"printed\n{done.stdout}and not\n{program.expected}"
    return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--compiler", default=os.environ.get("CXX", "g++"))
    arguments.add_argument("--work", type=pathlib.Path, default=ROOT / "build" / "readme_blocks")
    options = arguments.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)

    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    programs = [program for page in pages if page.exists() for program in programs_of(page)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        compiler = options.compiler.split()
        answers = list(threads.map(lambda one: check(one, compiler, options.work), programs))

    failed = 0
    for program, wrong in zip(programs, answers):
        if wrong is not None:
            failed += 1
            print(f"{program.place}: {wrong}")
    runs = sum(program.is_run for program in programs)
    print(f"{len(programs)} programs compiled, {runs} of them run, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
