"""HTTP over a Unix socket, as bytes: no library of Docker's stands between."""

import base64
import http.client
import json
import os
import socket
import time
import urllib.parse

from .compare import settled

# An emulated processor is slow; a healthy engine never comes near it.
PATIENCE = float(os.environ.get("PATIENCE", "180"))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    """The answer to one call."""

    def __init__(self, label, status, headers, body):
        self.label = label
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self):
        return json.loads(self.body)

    def id(self):
        """The id that a creation answers with; a name that nothing has where it failed."""
        return self.json().get("Id", "not-made") if self.body else "not-made"

    def content(self):
        """The body in a form that can be compared."""
        kind = self.headers.get("content-type", "")
        if "x-tar" in kind and self.status == 200:
            return "(tar)"
        if "stream" in kind:
            return frames(self.body) if self.multiplexed() else self.body.decode(errors="replace")
        if kind.startswith("application/json"):
            return values(self.body)
        return self.body.decode(errors="replace")

    def multiplexed(self):
        return self.body[:1] in (b"\0", b"\1", b"\2") and self.body[1:4] == b"\0\0\0"


def frames(body):
    """What each of the streams said: they are pipes of their own, without an order between them."""
    said = {}
    for stream, text in pieces(body):
        said[str(stream)] = said.get(str(stream), "") + text
    return said


def pieces(body):
    """The pieces themselves, those of each stream in their order: clients take a log's for its lines."""
    found = []
    while body:
        length = int.from_bytes(body[4:8], "big")
        found.append([body[0], body[8:8 + length].decode(errors="replace")])
        body = body[8 + length:]
    return sorted(found, key=lambda piece: piece[0])


def values(body):
    """One JSON value, or a list of those that follow each other."""
    decoder, found, text = json.JSONDecoder(), [], body.decode()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found[0] if len(found) == 1 else found


class Engine:
    """One engine, and every answer that it gave."""

    def __init__(self, path, registry):
        self.path = path
        # A registry on the loopback that this engine reaches.
        self.registry = registry
        self.case = ""
        self.answers = {}
        self.broken = []

    def keep(self, answer):
        """Keeps an answer for the comparison. The label is the call's, with a number where it is made again."""
        label, number = answer.label, 1
        while answer.label in self.answers:
            number += 1
            answer.label = f"{label} #{number}"
        self.answers[answer.label] = answer
        return answer

    def ask(self, method, path, query=None, body=None, headers=None, version="1.51", note=None, keep=True):
        """Makes a call. A body that is no bytes is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        target = address(path, query, version)
        connection = UnixConnection(self.path)
        try:
            try:
                connection.request(method, target, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # It answered before it had read everything.
                pass
            response = connection.getresponse()
            answer = Answer(self.label(method, path, query, version, note), response.status, response.getheaders(),
                            whole(response))
        finally:
            connection.close()
        return self.keep(answer) if keep else answer

    def get(self, path, query=None, **options):
        return self.ask("GET", path, query, **options)

    def post(self, path, query=None, body=None, **options):
        return self.ask("POST", path, query, body, **options)

    def delete(self, path, query=None, **options):
        return self.ask("DELETE", path, query, **options)

    def hijack(self, path, query=None, body=None, send=b"", version="1.51", upgrade=True, note=None, meanwhile=None):
        """Takes the connection over, sends, ends the sending, and reads to the end."""
        text = json.dumps(body).encode() if body is not None else b""
        head = [f"POST {address(path, query, version)} HTTP/1.1", "Host: localhost", f"Content-Length: {len(text)}"]
        if text:
            head.append("Content-Type: application/json")
        if upgrade:
            head += ["Connection: Upgrade", "Upgrade: tcp"]
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(PATIENCE)
            stream.connect(self.path)
            stream.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + text)
            received = b""
            while b"\r\n\r\n" not in received:
                chunk = stream.recv(65536)
                if not chunk:
                    break
                received += chunk
            first, _, rest = received.partition(b"\r\n\r\n")
            lines = first.decode().split("\r\n")
            status = int(lines[0].split()[1])
            headers = [line.split(": ", 1) for line in lines[1:]]
            if meanwhile:
                meanwhile()
            if status in (101, 200):
                stream.sendall(send)
                stream.shutdown(socket.SHUT_WR)
            while chunk := stream.recv(65536):
                rest += chunk
        if any(name.lower() == "transfer-encoding" for name, _ in headers):
            rest = dechunked(rest)
        return self.keep(Answer(self.label("POST", path, query, version, note), status, headers, rest))

    def label(self, method, path, query, version, note):
        # Of several forms only the one that is not the usual is told.
        asked = f"?{urllib.parse.unquote_plus(encoded(query))}" if query else ""
        told = "" if version == "1.51" else f" v{version}"
        return settled(f"{self.case}: {method} {path}{asked}{told}" + (f" ({note})" if note else ""))


def whole(response):
    """The body, unless it goes on for ever."""
    end, body = time.monotonic() + PATIENCE, b""
    while chunk := response.read1(65536):
        body += chunk
        if time.monotonic() > end:
            raise TimeoutError("an answer that does not end")
    return body


def dechunked(body):
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if not length:
            break
        whole, body = whole + rest[:length], rest[length + 2:]
    return whole


def encoded(query):
    if isinstance(query, str):
        return query
    pairs = {key: json.dumps(value) if isinstance(value, (dict, list)) else value for key, value in query.items()}
    return urllib.parse.urlencode(pairs)


def address(path, query, version):
    whole = (f"/v{version}" if version else "") + path
    return whole + (f"?{encoded(query)}" if query else "")


def nobody():
    """The header of a client that has no account at the registry."""
    return {"X-Registry-Auth": base64.urlsafe_b64encode(b"{}").decode()}
