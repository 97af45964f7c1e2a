"""What the scripts share: commands, requests, and waiting for something to come true."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request

STACK = os.environ.get("STACK_IMAGE", "wherry-clients/stack")
FOLDER = os.path.dirname(os.path.abspath(__file__))
# Emulated processors are slow; a healthy engine never comes near it.
PATIENCE = float(os.environ.get("PATIENCE", "180"))


def run(*command, input=None, status=0, cwd=None, env=None):
    """Runs a command to its end and returns what it printed."""
    done = subprocess.run(
        command,
        input=input,
        capture_output=True,
        text=not isinstance(input, bytes),
        timeout=PATIENCE,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != status:
        raise AssertionError(
            f"{' '.join(command)}\nended with {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}"
        )
    return done.stdout


def docker(*arguments, **options):
    return run("docker", *arguments, **options)


def inspect(name):
    return json.loads(docker("inspect", name))[0]


def until(what, ask):
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + PATIENCE
    while True:
        failure = None
        try:
            if answer := ask():
                return answer
        except (AssertionError, OSError) as error:
            failure = error
        if time.monotonic() > end:
            raise AssertionError(f"it never came true that {what}: {failure}")
        time.sleep(0.2)


class Follower:
    """A command that goes on, and what it has printed so far."""

    def __init__(self, *command, cwd=None, env=None):
        self.text = ""
        self.process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self.follow, daemon=True).start()

    def follow(self):
        for line in self.process.stdout:
            self.text += line

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def fetch(url, data=None):
    with urllib.request.urlopen(url, data=data, timeout=PATIENCE) as answer:
        return answer.read().decode(), dict(answer.headers)


def equal(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def holds(part, whole):
    if part not in whole:
        raise AssertionError(f"{part!r} is not in {whole!r}")


def steps(*functions):
    """Runs the steps of a script in their order."""
    for step in functions:
        began = time.monotonic()
        print(f"  {step.__doc__} ... ", end="", flush=True)
        try:
            step()
        except BaseException as error:
            print("FAILED", flush=True)
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            if not isinstance(error, AssertionError):
                raise
            sys.exit(1)
        print(f"{time.monotonic() - began:.1f} s", flush=True)
