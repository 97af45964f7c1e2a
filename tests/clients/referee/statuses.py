"""Calls that are answered with another status than dockerd's, each with the reason."""

import re

EARLIER = "it is refused when it is asked for, where dockerd fails later or does nothing"
STREAM = "what fails before anything is told is an answer with a status"


class Meant:
    """A status that is another one here, and meant to be."""

    def __init__(self, where, pair, why):
        self.where, self.pair, self.why = re.compile(where), pair, why
        self.met = False

    def holds(self, label, pair):
        found = bool(self.where.search(label)) and pair == self.pair
        self.met |= found
        return found


STATUSES = [Meant(*told) for told in (
    (r"create\?name=diff-refused-\d+ \(\{'PortBindings': \{'80/xyz'", (400, 201), EARLIER),
    (r"\{'max-size': 'x'\}", (400, 201), EARLIER),
    (r"'NetworkMode': 'container:no-such'", (404, 201), EARLIER),
    (r"'Dns': \['no address'\]", (400, 201), EARLIER),
    (r"'Test': \['WRONG'", (400, 201), EARLIER),
    (r"'ExposedPorts': \{'no port'", (400, 201), EARLIER),
    (r"'Hostname': 'under_score", (400, 201), EARLIER),
    (r"no-such-net", (404, 201), EARLIER),
    (r"\{'Cmd': 'of one word'\}\)$|create\?name=diff-json", (400, 201), "a container has an image"),
    (r"create\?name=x{255,}", (400, 201), "a name is a host name and the name of a file"),
    (r"diff-lost", (404, 200), EARLIER),
    (r"diff-lost", (404, 201), EARLIER),
    (r"no JSON by its type", (404, 400), "the type of the content is not looked at"),
    (r"'VolumesFrom'", (404, 400), "what does not exist is 404"),
    (r"DELETE /containers/diff-none\?link=1", (400, 404), "it is no link by its form"),
    (r"with its slash", (200, 301), "an empty part of a path is passed over, without asking the client to"),
    (r"life.executed: POST /exec/<id>/start \(again\)", (409, 200), STREAM),
    (r"POST /images/load", (400, 200), STREAM),
    (r"/push\?", (404, 200), STREAM),
    (r"GET /images/get$", (400, 200), "an archive of nothing helps nobody"),
    (r"images.named: POST /images/referee/busybox:1/tag(\?repo=)?$", (400, 200), "a name that is empty is none"),
    (r"label!.*image", (200, 400), "label! is known here too"),
    (r"\"reference\": \[\"\[\"\]", (200, 500), "a pattern that cannot be read fits nothing"),
    (r"events \{'no-such'", (400, 200), "a filter that is none is refused, as elsewhere"),
    (r"GET /plugins\?filters", (200, 400), "there are no plugins to choose from"),
    (r"\{'Name': '( x|x/y)'\}", (400, 201), "a network's name is one of a file"),
    (r"'IPAM': \{'Driver': 'no-such'\}", (400, 404), "the driver is named in the description, not in the path"),
    (r"'Scope': 'swarm'", (201, 403), "the scope is ignored: there is no swarm"),
    (r"'ConfigFrom'", (201, 404), "templates of networks are ignored"),
    (r"'Driver': 'host'", (404, 403), "networks are bridges"),
    (r"networks.joined: POST /networks/(no-such|diff-join)/(connect|disconnect)", (409, 200), EARLIER),
    (r"networks.joined: POST /networks/(no-such|diff-join)/(connect|disconnect)", (404, 200), EARLIER),
    (r"POST /containers/diff-guest/start", (409, 403), "an address that is taken is a conflict"),
    (r"PUT /volumes/", (501, 503), "there are no clusters"),
    (r"platform=linux/s390x", (400, 200), "an image of another platform is none"),
    (r"ps_args=-o args", (200, 500), "the processes are found without a column of their ids"),
    (r"POST /containers/diff-exec/exec \(\{'Cmd': 'of one word'\}\)", (201, 400), "one word is a command, as of containers"),
)]


def is_meant(label, ours, theirs):
    return any(each.holds(label, (ours.status, theirs.status)) for each in STATUSES)
