"""What of two answers is compared, and how."""

import base64
import json
import re

# Of the rest no client depends on, or the server of HTTP sets it.
HEADERS = ("content-type", "api-version", "docker-experimental", "ostype", "builder-version", "swarm", "cache-control",
           "pragma", "upgrade", "x-docker-container-path-stat")

# What differs between any two runs, in whatever text it stands.
VARYING = [
    (re.compile(r"sha256:[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"\b(?=[a-z]*\d)[0-9a-f]{12}\b"), "<short>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), "<registry>"),
    (re.compile(r"/dev/pts/\d+"), "<terminal>"),
    (re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"Up (Less than a second|\d+ seconds?)|(Less than a second|\d+ seconds?) ago"), "<since>"),
]
# Go's zero time is no moment that varies: it says that there is none.
NEVER = "0001-01-01T00:00:00Z"


class Known:
    """A difference that is meant: where it is, and why. One that is there sometimes only need not be met."""

    def __init__(self, where, what, why, sometimes=False):
        self.where, self.what, self.why = re.compile(where), re.compile(what), why
        self.met = sometimes

    def holds(self, label, path):
        found = bool(self.where.search(label) and self.what.fullmatch(path))
        self.met |= found
        return found


def settled(text):
    """A text without what varies from run to run."""
    if text == NEVER:
        return text
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def kind(value):
    return {dict: "object", list: "list", str: "text", bool: "bool", int: "number", float: "number"}.get(type(value), "null")


def differences(ours, theirs, loose, path=""):
    """Yields the places where two values differ, with how. Of the loose ones only the type counts, and whether
    there is something."""
    if kind(ours) != kind(theirs):
        yield path or ".", f"{short(ours)} for {short(theirs)}"
    elif isinstance(ours, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            below = f"{path}.{settled(key)}".lstrip(".")
            if key not in ours:
                if not any_like(key, ours):
                    yield below, f"missing; theirs is {short(theirs[key])}"
            elif key not in theirs:
                if not any_like(key, theirs):
                    yield below, f"theirs has none; ours is {short(ours[key])}"
            else:
                yield from differences(ours[key], theirs[key], loose, below)
        # Keys that are ids: compared in their order.
        pairs = zip(*(sorted(key for key in side if settled(key) != key and key not in other)
                      for side, other in ((ours, theirs), (theirs, ours))))
        for ours_key, theirs_key in pairs:
            yield from differences(ours[ours_key], theirs[theirs_key], loose, f"{path}.{settled(ours_key)}".lstrip("."))
    elif loose(path):
        if bool(ours) != bool(theirs):
            yield path, f"{short(ours)} for {short(theirs)}"
    elif isinstance(ours, list):
        ours, theirs = (in_order(side) for side in (ours, theirs))
        if len(ours) != len(theirs):
            yield path or ".", f"{short(ours)} for {short(theirs)}"
            return
        for left, right in zip(ours, theirs):
            yield from differences(left, right, loose, f"{path}[]")
    elif isinstance(ours, str):
        if settled(ours) != settled(theirs):
            yield path or ".", f"{short(ours)} for {short(theirs)}"
    elif ours != theirs:
        yield path or ".", f"{short(ours)} for {short(theirs)}"


def in_order(items):
    """A list whose order means nothing in the order of what its items are called."""
    for key in ("Path", "Destination", "PrivatePort", "Name"):
        if items and all(isinstance(item, dict) and key in item for item in items):
            return sorted(items, key=lambda item: item[key])
    return items


def any_like(key, other):
    """Whether another side has a key that differs only in what varies."""
    return settled(key) != key and any(settled(key) == settled(has) and has != key for has in other)


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:157]}..."


def of_answers(ours, theirs, loose):
    """Yields what differs between two answers."""
    if ours.status != theirs.status:
        yield "status", f"{ours.status} for {theirs.status}: {short(ours.body.decode(errors='replace'))} " \
                        f"for {short(theirs.body.decode(errors='replace'))}"
        return
    for name in HEADERS:
        left, right = (header(answer, name) for answer in (ours, theirs))
        if kind(left) == "object" and kind(right) == "object":
            yield from differences(left, right, loose, f"header {name}")
        elif left != right:
            yield f"header {name}", f"{left!r} for {right!r}"
    yield from differences(ours.content(), theirs.content(), loose)


def header(answer, name):
    value = answer.headers.get(name)
    if value is not None and name.endswith("path-stat"):
        return json.loads(base64.b64decode(value))
    return value
