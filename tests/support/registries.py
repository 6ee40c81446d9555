"""A registry of images on the loopback of an engine's own network namespace.

It speaks as much of the registry's protocol (distribution, version 2) as a pull needs, without TLS:
engines ask for none on their own loopback.
"""

import base64
import ctypes
import gzip
import hashlib
import json
import os
import platform
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ARCHS = {"x86_64": "amd64", "aarch64": "arm64"}
TLS_HELLO = b"\x16"


class Registry:
    """Images by their names, such as ``me/box:tag``.

    Attributes:
        login: who may ask, as ``name:password``; None for everybody.
        asked: the paths that were asked for.
        flowing: while it is not set, layers come to a halt in the middle.
    """

    def __init__(self, port):
        self.port = port
        self.login = None
        self.asked = []
        self.flowing = Event()
        self.flowing.set()
        self.manifests, self.blobs = {}, {}

    @property
    def host(self):
        """As it is written before the names of its images."""
        return f"localhost:{self.port}"

    def add(self, name, root, **config):
        """Hold an image of one layer: ``root`` is a tar archive. Gives its reference."""
        layer = gzip.compress(root, 1, mtime=0)
        about = {
            "os": "linux",
            "architecture": ARCHS[platform.machine()],
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(root)]},
        }
        described = json.dumps(about).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._hold(CONFIG, described),
            "layers": [self._hold(LAYER, layer)],
        }
        said = json.dumps(manifest).encode()
        repository, _, tag = name.partition(":")
        for key in (tag, _digest(said)):
            self.manifests[f"/v2/{repository}/manifests/{key}"] = said
        return f"{self.host}/{name}"

    def _hold(self, kind, blob):
        digest = _digest(blob)
        self.blobs[digest] = blob
        return {"mediaType": kind, "size": len(blob), "digest": digest}

    def lets_in(self, credentials):
        """Whether these are the right ones, as the header of a request has them."""
        if self.login is None:
            return True
        return credentials == f"Basic {base64.b64encode(self.login.encode()).decode()}"


def _digest(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextmanager
def registry(engine):
    """A registry that the engine finds on its own loopback."""
    with _listening(engine) as door:
        ours = Registry(door.getsockname()[1])
        server = ThreadingHTTPServer(("", 0), _handler(ours), bind_and_activate=False)
        server.socket.close()
        server.socket = door
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield ours
        finally:
            ours.flowing.set()
            server.shutdown()
            serving.join()


def _listening(engine):
    """A listening socket of the engine's namespace: that of the thread which makes it."""
    made = []

    def listen():
        with open(f"/proc/{engine.pid}/ns/net", "rb") as space:  # noqa: PTH123 a descriptor
            if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), 0):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made.append(socket.create_server(("127.0.0.1", 0)))

    maker = Thread(target=listen)
    maker.start()
    maker.join()
    return made[0]


def _handler(registry):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle(self):
            # An engine first tries TLS; what it says then has no end of a line to wait for.
            if self.connection.recv(1, socket.MSG_PEEK) != TLS_HELLO:
                super().handle()

        def do_GET(self):
            registry.asked.append(self.path)
            if not registry.lets_in(self.headers["Authorization"]):
                self.refuse(401, "UNAUTHORIZED", "authentication required")
            elif self.path == "/v2/":
                self.answer("application/json", b"{}")
            elif manifest := registry.manifests.get(self.path):
                self.answer(MANIFEST, manifest)
            elif blob := registry.blobs.get(self.path.rpartition("/")[2]):
                self.answer("application/octet-stream", blob)
            else:
                self.refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")

        do_HEAD = do_GET  # noqa: N815 as the base class has it

        def refuse(self, status, code, words):
            said = json.dumps({"errors": [{"code": code, "message": words}]}).encode()
            self.answer("application/json", said, status)

        def answer(self, kind, content, status=200):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Content-Digest", _digest(content))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.end_headers()
            if self.command == "GET":
                half = len(content) // 2 if kind.endswith("octet-stream") else len(content)
                self.wfile.write(content[:half])
                if half < len(content):
                    registry.flowing.wait()
                    self.wfile.write(content[half:])

        def log_message(self, *_):
            pass

    return Handler
