"""ModelScope's paths, as its own client and its plain HTTP interface use them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlencode

from hub_server.exchange import Exchange, Fault
from hub_server.repos import Commit, Repo

UNAUTHORIZED, MISSING = 10010103009, 10010205001
REPO = r"(?P<repo>[^/]+/[^/]+)"


def info(exchange: Exchange, repo: str) -> None:
    """Answers with a repo's facts."""
    if found := readable(exchange, repo, "master"):
        kept, commit = found
        owner, _, name = kept.id.partition("/")
        data = {"Path": owner, "Name": name, "Revision": "master", "Visibility": 1 if kept.private else 5}
        agree(exchange, data | {"LastUpdatedTime": int(commit.date.timestamp())})


def region(exchange: Exchange) -> None:
    """Answers that this is no machine of the hub's own cloud."""
    agree(exchange, {"InternalRegionQueryAddress": ""})


def revisions(exchange: Exchange, repo: str) -> None:
    """Answers with the branches."""
    if found := readable(exchange, repo, "master"):
        kept, _ = found
        branches = [
            {"Revision": "master" if name == "main" else name, "CreatedAt": int(kept.commits[id].date.timestamp())}
            for name, id in kept.branches.items()
        ]
        agree(exchange, {"RevisionMap": {"Branches": branches, "Tags": []}})


def files(exchange: Exchange, repo: str) -> None:
    """Answers with the files of a revision, with their sizes and digests."""
    if found := readable(exchange, repo, exchange.query.get("Revision", "master")):
        commit = found[1]
        recursive = exchange.query.get("Recursive", "").lower() == "true"
        entries = listing(commit, exchange.query.get("Root", "").strip("/"), recursive=recursive)
        agree(exchange, {"Files": entries, "IsVisual": 0, "LatestCommitter": {}})


def listing(commit: Commit, root: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Returns folders and files below a folder, each with the commit that last changed it."""
    top = PurePosixPath(root)
    below = {PurePosixPath(path): blob for path, blob in commit.files.items() if top in PurePosixPath(path).parents}
    folders = {parent for path in below for parent in path.parents if top in parent.parents}
    facts = {"CommitMessage": commit.title, "CommittedDate": int(commit.date.timestamp()), "InCheck": False}
    entries: list[dict[str, Any]] = [
        {"Path": str(path), "Name": path.name, "Type": "tree", "Size": 0, "Sha256": "", "IsLFS": False}
        | {**facts, "Mode": "40000", "Revision": commit.id}
        for path in sorted(folders)
    ]
    entries += [
        {"Path": str(path), "Name": path.name, "Type": "blob", "Size": blob.size, "Sha256": blob.sha256}
        | {**facts, "IsLFS": blob.lfs, "Mode": "100644", "Revision": commit.changed[str(path)]}
        for path, blob in below.items()
    ]
    return entries if recursive else [entry for entry in entries if PurePosixPath(entry["Path"]).parent == top]


def file(exchange: Exchange, repo: str) -> None:
    """Answers with a small file, whole whatever range was asked for, or with the address of a large one."""
    path = exchange.query.get("FilePath", "")
    if not (found := readable(exchange, repo, exchange.query.get("Revision", "master"))):
        return
    if not (blob := found[1].files.get(path)):
        return refuse(exchange, 404, MISSING, f"file {path} not found")
    if not blob.lfs:
        return exchange.serve(blob, path, {"ETag": f'"{blob.oid}"'}, ranges=False)
    query = urlencode({"FilePath": path, "Signature": "good"})
    exchange.redirect(f"{exchange.hub.cdn_url}/lfs/{blob.sha256}?{query}", {})


def large_file(exchange: Exchange, sha256: str) -> None:
    """Answers, at the second address, with a large file; the address itself is the permission."""
    if exchange.query.get("Signature") != "good" or sha256 not in exchange.hub.blobs:
        return exchange.reply({"error": "Access denied"}, status=403)
    blob = exchange.hub.blobs.blob(sha256, exchange.file, lfs=True)
    exchange.serve(blob, exchange.file, {"ETag": f'"{sha256[:32]}"', "X-Linked-ETag": f'"{sha256}"'})


def readable(exchange: Exchange, repo: str, revision: str) -> tuple[Repo, Commit] | None:
    """Returns a repo and a commit of it, or answers that this user cannot have it."""
    if exchange.hub.token not in (None, exchange.token):
        refuse(exchange, 401, UNAUTHORIZED, "unauthorized")
        return None
    kept = exchange.hub.repos.get(repo)
    if kept is None or (kept.private and not exchange.token):
        refuse(exchange, 404, MISSING, f"model {repo} not found")
        return None
    if found := kept.find("main" if revision == "master" else revision):
        return kept, found
    refuse(exchange, 404, MISSING, f"revision {revision} not found")
    return None


def agree(exchange: Exchange, data: Any) -> None:
    """Answers with data in ModelScope's envelope."""
    exchange.reply({"Code": 200, "Data": data, "Message": "success", "RequestId": "1", "Success": True})


def refuse(exchange: Exchange, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
    """Answers as ModelScope says no."""
    content = {"Code": code, "Data": {}, "Message": message, "RequestId": "1", "Success": False}
    exchange.reply(content, status=status, headers=headers)


def refuse_fault(exchange: Exchange, fault: Fault | int, retry_after: int) -> None:
    """Answers with the fault that a test ordered."""
    status = 403 if isinstance(fault, Fault) else fault
    refuse(exchange, status, status, "refused", {"Retry-After": str(retry_after)} if status == 429 else None)


HUB: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET", r"/api/v1/repos/internalAccelerationInfo", region),
    ("GET", rf"/api/v1/models/{REPO}", info),
    ("GET", rf"/api/v1/models/{REPO}/revisions", revisions),
    ("GET", rf"/api/v1/models/{REPO}/repo/files", files),
    ("GET|HEAD", rf"/api/v1/models/{REPO}/repo", file),
)
CDN: tuple[tuple[str, str, Callable[..., None]], ...] = (("GET|HEAD", r"/lfs/(?P<sha256>[0-9a-f]{64})", large_file),)
