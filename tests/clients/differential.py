"""The same calls to the engine and to dockerd: statuses, headers, and the shapes and values of what comes back."""

import os
import shutil
import sys
import time
import traceback

from referee import containers, images, life, networks, system
from referee.compare import of_answers
from referee.image import FOLDER, archive
from referee.known import KNOWN, is_known, is_loose
from referee.statuses import STATUSES, is_meant
from referee.wire import Engine

GROUPS = {"system": system, "containers": containers, "life": life, "images": images, "networks": networks}


def ask(engine, wanted):
    engine.post("/images/load", {"quiet": "1"}, archive(), keep=False)
    for group, module in GROUPS.items():
        for case in module.CASES:
            engine.case = f"{group}.{case.__name__}"
            if wanted in engine.case:
                began = time.monotonic()
                try:
                    case(engine)
                except Exception as error:
                    engine.broken.append(f"{engine.case}: {error!r}")
                    traceback.print_exc()
                print(f"  {engine.case} {time.monotonic() - began:.1f} s", flush=True)


def main():
    wanted = os.environ.get("CASE", "")
    ours = Engine(os.environ["DOCKER_HOST"].removeprefix("unix://"), os.environ["REGISTRY"])
    theirs = Engine(os.environ["REFEREE_HOST"].removeprefix("unix://"), os.environ["REFEREE_REGISTRY"])
    for engine in (theirs, ours):
        ask(engine, wanted)
    found, told = 0, ""
    for engine in (theirs, ours):
        for broken in engine.broken:
            found += 1
            print(f"  {engine.path} broke off in {broken}")
    for label in sorted(ours.answers.keys() ^ theirs.answers.keys()):
        found += 1
        print(f"  only {'the engine' if label in ours.answers else 'dockerd'} answered {label}")
    for label in theirs.answers:
        if label not in ours.answers:
            continue
        for path, how in of_answers(ours.answers[label], theirs.answers[label], is_loose):
            answers = ours.answers[label], theirs.answers[label]
            if is_known(label, path, *answers) or (path == "status" and is_meant(label, *answers)):
                continue
            found += 1
            if told != label:
                told = label
                print(f"  {label}")
            print(f"    {path}: {how}")
    if not wanted:
        for known in (*KNOWN, *STATUSES):
            if not known.met:
                found += 1
                print(f"  no difference is left of those where {known.why}")
    print(f"  {len(theirs.answers)} calls, {found} unexpected differences")
    sys.exit(1 if found else 0)


try:
    main()
finally:
    shutil.rmtree(FOLDER)
