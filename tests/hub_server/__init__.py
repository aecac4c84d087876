"""A hub on loopback: real HTTP, the protocols of Hugging Face and ModelScope, and every fault on order.

    with HubServer() as hub:
        commit = hub.add("Qwen/Qwen3-Embedding-0.6B", folder)
        hub.fail("model.safetensors", Fault.CUT, times=1)
        subprocess.run(…, env={**os.environ, **hub.environment(cache)})
        assert hub.requests[-1].headers["range"]

Text is never compressed, and repos are models.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from hub_server import huggingface, modelscope, uploads
from hub_server.exchange import Exchange, Fault, Order, Request
from hub_server.repos import BlobStore, Repo

__all__ = ["Fault", "HubServer", "Request"]

ROUTES = {
    "hub": (*modelscope.HUB, *huggingface.HUB, *uploads.HUB),
    "cdn": (*modelscope.CDN, *huggingface.CDN, *uploads.CDN),
}


class HubServer:
    """Two servers on 127.0.0.1: the hub, and the address where its large files lie.

    Attributes:
        url: Address of the hub, for HF_ENDPOINT and MODELSCOPE_ENDPOINT.
        cdn_url: The second address.
        requests: Every request so far, in the order they came.
        token: The bearer token that is demanded; None lets everybody read, and with any token write.
        pause: Seconds between two pieces of a slow body; a whole one takes a hundred times as long.
        page_size: Entries on a page of a repo's tree.
        repos: Repositories by id.
        blobs: Contents of files.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.repos: dict[str, Repo] = {}
        self.token: str | None = None
        self.pause = 0.05
        self.page_size = 1000
        self.closed, self.released = threading.Event(), threading.Event()
        self._orders: list[Order] = []
        self._sent: Counter[str] = Counter()
        self._lock = threading.Condition()
        self._folder = tempfile.TemporaryDirectory(prefix="hub-", ignore_cleanup_errors=True)
        self.blobs = BlobStore(Path(self._folder.name))
        self._servers = {name: self._serve(name) for name in ("hub", "cdn")}
        self.url, self.cdn_url = (f"http://127.0.0.1:{one.server_port}" for one in self._servers.values())

    def _serve(self, name: str) -> ThreadingHTTPServer:
        handler = type("Handler", (Exchange,), {"hub": self, "name": name})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), name=f"{name} on loopback", daemon=True).start()
        return server

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops both servers and removes the contents."""
        self.closed.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._folder.cleanup()

    def add(
        self,
        repo: str,
        files: Path | Mapping[str, bytes],
        *,
        branch: str = "main",
        title: str = "Upload",
        **facts: bool,
    ) -> str:
        """Makes a folder's files, and no others, the new commit of a branch; returns the commit's id.

        Args:
            repo: "org/name".
            files: A folder, or contents by path.
            branch: Which branch moves. ModelScope's clients call "main" "master".
            title: The commit's first line.
            facts: private=True (needs a token), gated=True (its files are refused).
        """
        if isinstance(files, Path):
            contents = {p.relative_to(files).as_posix(): p for p in sorted(files.rglob("*")) if p.is_file()}
        else:
            contents = dict(files)
        kept = self.repos.setdefault(repo, Repo(repo))
        for name, value in facts.items():
            setattr(kept, name, value)
        return kept.commit({path: self.blobs.put(one, path) for path, one in contents.items()}, title, branch).id

    def fail(
        self,
        pattern: str,
        fault: Fault | int,
        *,
        times: int | None = None,
        method: str | None = None,
        retry_after: int = 1,
    ) -> None:
        """Orders a fault.

        Args:
            pattern: Of a file's path in the repo or its last part ("*.safetensors"), or of the request's path
                without the first slash ("api/models/*").
            fault: A Fault, or a status: 401, 403, 404, 416, 429 (with Retry-After), 500, 503.
            times: For how many requests; None until heal() is called.
            method: Only for "GET" or only for "HEAD". Faults of bodies befall GET alone in any case.
            retry_after: Seconds that a 429 asks for.
        """
        if fault is Fault.HOLD:
            self.released.clear()
        self._orders.append(Order(pattern, fault, times, method, retry_after))

    def heal(self) -> None:
        """Takes back every fault, and lets go what was held."""
        self._orders.clear()
        self.released.set()

    def release(self) -> None:
        """Lets bodies go on that Fault.HOLD holds."""
        self.released.set()

    def wait_until_sending(self, file: str, n_bytes: int = 1, *, timeout: float = 600) -> None:
        """Returns when so many bytes of a file were sent; raises TimeoutError where that does not happen."""
        with self._lock:
            if not self._lock.wait_for(lambda: self._sent[file] >= n_bytes, timeout):
                raise TimeoutError(f"After {timeout} s {self._sent[file]} bytes of {file} were sent.")

    def environment(self, folder: Path) -> dict[str, str]:
        """Returns the variables that send both clients here, with caches in a folder and no token of the user's."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "huggingface"),
            "HF_HUB_CACHE": str(folder / "huggingface" / "hub"),
            "HF_TOKEN": "",
            "HF_TOKEN_PATH": str(folder / "huggingface" / "token"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # A paused machine is no fault of the code.
            "HF_HUB_ETAG_TIMEOUT": "600",
            "HF_HUB_DOWNLOAD_TIMEOUT": "600",
            "MODELSCOPE_ENDPOINT": self.url,
            "MODELSCOPE_API_TOKEN": "",
            "MODELSCOPE_CACHE": str(folder / "modelscope"),
            "MODELSCOPE_HOME": str(folder / "modelscope-home"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    # For the exchanges

    def route(self, exchange: Exchange, path: str) -> None:
        """Answers a request by the first route that fits it."""
        for methods, pattern, answer in ROUTES[exchange.name]:
            match = re.fullmatch(pattern, path)
            if match and exchange.command in methods.split("|"):
                arguments = {name: unquote(value) for name, value in match.groupdict().items() if value is not None}
                exchange.file = (
                    arguments.get("file") or exchange.query.get("file") or exchange.query.get("FilePath") or ""
                )
                self._note(exchange)
                speaker = modelscope if answer.__module__ == modelscope.__name__ else huggingface
                if not self._refused(exchange, speaker.refuse_fault):
                    answer(exchange, **arguments)
                return
        self._note(exchange)
        exchange.reply({"error": f"No route for {exchange.command} {path}"}, status=404)

    def _note(self, exchange: Exchange) -> None:
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        with self._lock:
            self.requests.append(Request(exchange.name, exchange.command, exchange.path, headers, exchange.file))

    def _refused(self, exchange: Exchange, refuse: Callable[[Exchange, Fault | int, int], None]) -> bool:
        order = self._due(exchange, exchange.file, lambda fault: fault is Fault.GATED or isinstance(fault, int))
        if order:
            refuse(exchange, order.fault, order.retry_after)
        return order is not None

    def fault_of(self, exchange: Exchange, file: str) -> Fault | None:
        """Returns what is to go wrong with the body of a file, and counts it."""
        order = self._due(exchange, file, lambda fault: fault is not Fault.GATED and not isinstance(fault, int))
        return order.fault if order and isinstance(order.fault, Fault) else None

    def _due(self, exchange: Exchange, file: str, fits: Callable[[Fault | int], bool]) -> Order | None:
        with self._lock:
            for order in self._orders:
                if fits(order.fault) and order.meets(exchange, file):
                    order.times = order.times and order.times - 1
                    return order
        return None

    def sent(self, file: str, n_bytes: int) -> None:
        """Notes that a piece of a file went out."""
        with self._lock:
            self._sent[file] += n_bytes
            self._lock.notify_all()
