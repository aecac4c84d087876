"""The Hugging Face hub's paths for readers, as huggingface_hub calls them.

Large files lie at a second address, as on the real hub. Xet is not spoken: its headers are absent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlencode

from hub_server.exchange import Exchange, Fault
from hub_server.repos import Blob, Commit, Repo

REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"


def info(exchange: Exchange, repo: str, revision: str = "main") -> None:
    """Answers with a repo's facts and the list of its files."""
    if found := readable(exchange, repo, revision):
        kept, commit = found
        blobs = exchange.query.get("blobs", "").lower() in ("true", "1")
        exchange.reply(
            {
                "_id": commit.id[:24],
                "id": kept.id,
                "modelId": kept.id,
                "author": kept.id.partition("/")[0],
                "sha": commit.id,
                "lastModified": date(commit),
                "createdAt": date(next(iter(kept.commits.values()))),
                "private": kept.private,
                "gated": "manual" if kept.gated else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": [sibling(path, blob, blobs) for path, blob in commit.files.items()],
            }
        )


def sibling(path: str, blob: Blob, blobs: bool) -> dict[str, Any]:
    """Returns a file as the repo's facts list it."""
    facts: dict[str, Any] = {"rfilename": path}
    if blobs:
        facts |= {"size": blob.size, "blobId": blob.oid}
        if blob.lfs:
            facts["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return facts


def tree(exchange: Exchange, repo: str, revision: str, folder: str = "") -> None:
    """Answers with a page of the files in a folder."""
    if not (found := readable(exchange, repo, revision)):
        return
    commit = found[1]
    entries = listing(commit, folder, recursive=exchange.query.get("recursive", "").lower() in ("true", "1"))
    if folder and not entries:
        return refuse(exchange, 404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
    start, size = int(exchange.query.get("cursor", 0)), exchange.hub.page_size
    headers = {"X-Repo-Commit": commit.id}
    if len(entries) > start + size:
        path = exchange.path.partition("?")[0]
        query = urlencode({**exchange.query, "cursor": start + size})
        headers["Link"] = f'<{exchange.hub.url}{path}?{query}>; rel="next"'
    exchange.reply(entries[start : start + size], headers=headers)


def listing(commit: Commit, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """Returns folders and files below a folder, as the tree lists them."""
    top = PurePosixPath(folder)
    below = {PurePosixPath(path): blob for path, blob in commit.files.items() if top in PurePosixPath(path).parents}
    folders = {parent for path in below for parent in path.parents if top in parent.parents}
    entries = [{"type": "directory", "oid": commit.id, "size": 0, "path": str(path)} for path in sorted(folders)]
    entries += [file_entry(str(path), blob) for path, blob in below.items()]
    return entries if recursive else [entry for entry in entries if PurePosixPath(entry["path"]).parent == top]


def file_entry(path: str, blob: Blob) -> dict[str, Any]:
    """Returns a file as the tree lists it."""
    entry: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry


def paths_info(exchange: Exchange, repo: str, revision: str) -> None:
    """Answers with what it knows of the paths that were asked for."""
    if found := readable(exchange, repo, revision):
        paths = parse_qs(exchange.body().decode()).get("paths", [])
        exchange.reply([file_entry(path, found[1].files[path]) for path in paths if path in found[1].files])


def refs(exchange: Exchange, repo: str) -> None:
    """Answers with the branches."""
    if found := readable(exchange, repo, "main"):
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": id} for name, id in found[0].branches.items()
        ]
        exchange.reply({"branches": branches, "tags": [], "converts": []})


def resolve(exchange: Exchange, repo: str, revision: str, file: str) -> None:
    """Answers with a small file, or with the address of a large one."""
    exchange.file = file
    if not (found := readable(exchange, repo, revision)):
        return
    kept, commit = found
    if kept.gated:
        return refuse_gated(exchange, kept.id)
    headers = {"X-Repo-Commit": commit.id}
    if not (blob := commit.files.get(file)):
        return refuse(exchange, 404, "EntryNotFound", "Entry not found", headers)
    if not blob.lfs:
        return exchange.serve(blob, file, {**headers, "ETag": f'"{blob.etag}"'})
    headers |= {"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.etag}"'}
    signature = urlencode({"file": file, "Signature": "good", "Expires": "4102444800"})
    exchange.redirect(f"{exchange.hub.cdn_url}/repos/{blob.sha256}?{signature}", headers)


def large_file(exchange: Exchange, sha256: str) -> None:
    """Answers, at the second address, with a large file; the address itself is the permission."""
    exchange.file = exchange.query.get("file", "")
    if exchange.query.get("Signature") != "good" or sha256 not in exchange.hub.blobs:
        return exchange.reply({"error": "Access denied"}, status=403)
    blob = exchange.hub.blobs.blob(sha256, exchange.file, lfs=True)
    # The store's own ETag is another than the hub's: a multipart upload's MD5.
    exchange.serve(blob, exchange.file, {"ETag": f'"{sha256[:32]}-1"'})


def readable(exchange: Exchange, repo: str, revision: str) -> tuple[Repo, Commit] | None:
    """Returns a repo and a commit of it, or answers that this user cannot have it."""
    if not permitted(exchange):
        return None
    kept = exchange.hub.repos.get(repo)
    if kept is None or (kept.private and not exchange.token):
        if exchange.token:
            refuse(exchange, 404, "RepoNotFound", "Repository not found")
        else:
            refuse_stranger(exchange)
        return None
    if found := kept.find(revision):
        return kept, found
    refuse(exchange, 404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return None


def permitted(exchange: Exchange) -> bool:
    """Says whether the token is the one that the hub demands, or answers that it is not."""
    if exchange.hub.token in (None, exchange.token):
        return True
    if exchange.token:
        refuse(exchange, 401, None, MESSAGES[401])
    else:
        refuse_stranger(exchange)
    return False


def refuse_stranger(exchange: Exchange) -> None:
    """Answers somebody without a token, to whom the hub does not tell the private from the missing.

    The real hub sends 401 and no code; huggingface_hub takes that for a missing repo, but only from an address
    with https. The code has the same effect on http.
    """
    refuse(exchange, 401, "RepoNotFound", "Invalid username or password.")


def refuse(
    exchange: Exchange, status: int, code: str | None, message: str, headers: dict[str, str] | None = None
) -> None:
    """Answers as the hub says no."""
    said = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    exchange.reply({"error": message}, status=status, headers={**(headers or {}), **said})


def refuse_gated(exchange: Exchange, repo: str) -> None:
    """Answers that the owner must let the user in first."""
    message = f"Access to model {repo} is restricted and you are not in the authorized list."
    refuse(exchange, 403 if exchange.token else 401, "GatedRepo", message)


def refuse_fault(exchange: Exchange, fault: Fault | int, retry_after: int) -> None:
    """Answers with the fault that a test ordered."""
    if fault is Fault.GATED:
        return refuse_gated(exchange, "of the owner")
    assert isinstance(fault, int)
    code = {404: "EntryNotFound"}.get(fault)
    headers = patience(retry_after) if fault == 429 else None
    refuse(exchange, fault, code, MESSAGES.get(fault, "Internal Error"), headers)


def patience(seconds: int) -> dict[str, str]:
    """Returns the headers of an answer that asks for patience."""
    return {"Retry-After": str(seconds), "RateLimit": f'"resolvers";r=0;t={seconds}'}


MESSAGES = {
    401: "Invalid credentials in Authorization header",
    403: "Forbidden",
    404: "Entry not found",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


def date(commit: Commit) -> str:
    """Returns a commit's date as the hub writes it."""
    return f"{commit.date:%Y-%m-%dT%H:%M:%S}.000Z"


HUB: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET|HEAD", rf"/{REPO}/resolve/{REVISION}/(?P<file>.+)", resolve),
    ("GET", rf"/api/models/{REPO}", info),
    ("GET", rf"/api/models/{REPO}/revision/{REVISION}", info),
    ("GET", rf"/api/models/{REPO}/tree/{REVISION}(?:/(?P<folder>.+))?", tree),
    ("POST", rf"/api/models/{REPO}/paths-info/{REVISION}", paths_info),
    ("GET", rf"/api/models/{REPO}/refs", refs),
)
CDN: tuple[tuple[str, str, Callable[..., None]], ...] = (("GET|HEAD", r"/repos/(?P<sha256>[0-9a-f]{64})", large_file),)
