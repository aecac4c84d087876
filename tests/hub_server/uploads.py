"""The Hugging Face hub's paths for writers: whoami, creating a repo, and what upload_folder needs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import yaml

from hub_server.exchange import Exchange
from hub_server.huggingface import REPO, REVISION, permitted, readable, refuse, refuse_stranger
from hub_server.repos import Repo, is_lfs


def whoami(exchange: Exchange) -> None:
    """Answers with who the token is."""
    if writable(exchange):
        access = {"displayName": "tests", "role": "write"}
        exchange.reply(
            {
                "type": "user",
                "id": "1",
                "name": "tester",
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": access},
            }
        )


def create(exchange: Exchange) -> None:
    """Makes a repo."""
    if not writable(exchange):
        return
    wish = json.loads(exchange.body())
    repo = f"{wish.get('organization') or 'tester'}/{wish['name']}"
    answer = {"url": f"{exchange.hub.url}/{repo}", "name": repo, "id": repo}
    if repo in exchange.hub.repos:
        message = "You already created this model repo"
        return exchange.reply(answer | {"error": message}, status=409, headers={"X-Error-Message": message})
    private = wish.get("visibility") == "private" or bool(wish.get("private"))
    kept = exchange.hub.repos[repo] = Repo(repo, private=private)
    kept.commit({}, "initial commit")
    exchange.reply(answer)


def validate_yaml(exchange: Exchange) -> None:
    """Answers with what is wrong with the front matter of a model card."""
    content = json.loads(exchange.body())["content"]
    match = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    try:
        facts = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        return exchange.reply({"errors": [{"message": str(error)}], "warnings": []}, status=400)
    warnings = [] if isinstance(facts, dict) else [{"message": "empty or missing yaml metadata in repo card"}]
    exchange.reply({"errors": [], "warnings": warnings})


def preupload(exchange: Exchange, repo: str, revision: str) -> None:
    """Answers with which files go to LFS."""
    if writable(exchange) and (found := readable(exchange, repo, revision)):
        files = []
        for one in json.loads(exchange.body())["files"]:
            blob = found[1].files.get(one["path"])
            mode = "lfs" if is_lfs(one["path"], one["size"]) else "regular"
            oid = (blob.sha256 if blob.lfs else blob.oid) if blob else None
            files.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        exchange.reply({"files": files})


def lfs_batch(exchange: Exchange, repo: str) -> None:
    """Answers with where to put which large files; one that is there already needs no place."""
    if not (writable(exchange) and (found := readable(exchange, repo, "main"))):
        return
    present = {blob.sha256 for commit in found[0].commits.values() for blob in commit.files.values()}
    objects = []
    for one in json.loads(exchange.body())["objects"]:
        entry = {"oid": one["oid"], "size": one["size"]}
        if one["oid"] not in present:
            upload = {"href": f"{exchange.hub.cdn_url}/uploads/{one['oid']}?Signature=good"}
            verify = {"href": f"{exchange.hub.url}/api/lfs-verify"}
            entry["actions"] = {"upload": upload, "verify": verify}
        objects.append(entry)
    exchange.reply({"transfer": "basic", "objects": objects})


def upload(exchange: Exchange, sha256: str) -> None:
    """Takes a large file, at the second address."""
    blob = exchange.hub.blobs.put(exchange.body(), "upload", lfs=True)
    if blob.sha256 != sha256:
        return exchange.reply({"error": "The body is not what its name says"}, status=400)
    exchange.reply({}, headers={"ETag": f'"{sha256[:32]}"'})


def verify(exchange: Exchange) -> None:
    """Says whether a large file arrived."""
    wish = json.loads(exchange.body())
    arrived = wish["oid"] in exchange.hub.blobs and exchange.hub.blobs.blob(wish["oid"], "").size == wish["size"]
    exchange.reply({}, status=200 if arrived else 404)


def commit(exchange: Exchange, repo: str, revision: str) -> None:
    """Makes a commit of the operations that come as lines of JSON."""
    if not (writable(exchange) and (found := readable(exchange, repo, revision))):
        return
    files, title = dict(found[1].files), ""
    for line in exchange.body().splitlines():
        operation = json.loads(line)
        kind, value = operation["key"], operation["value"]
        if kind == "header":
            title = value["summary"]
        elif kind == "file":
            files[value["path"]] = exchange.hub.blobs.put(base64.b64decode(value["content"]), value["path"], lfs=False)
        elif kind == "lfsFile":
            if value["oid"] not in exchange.hub.blobs:
                return refuse(exchange, 400, None, f"LFS pointer to a missing object: {value['oid']}")
            files[value["path"]] = exchange.hub.blobs.blob(value["oid"], value["path"], lfs=True)
        elif kind == "deletedFile":
            del files[value["path"]]
        else:
            top = PurePosixPath(value["path"])
            files = {path: blob for path, blob in files.items() if top not in PurePosixPath(path).parents}
    made = found[0].commit(files, title, revision)
    url = f"{exchange.hub.url}/{repo}/commit/{made.id}"
    exchange.reply({"success": True, "commitOid": made.id, "commitUrl": url, "hookOutput": ""})


def writable(exchange: Exchange) -> bool:
    """Says whether this user may write: any user with a token, where the hub demands no certain one."""
    if exchange.token:
        return permitted(exchange)
    refuse_stranger(exchange)
    return False


HUB: tuple[tuple[str, str, Callable[..., None]], ...] = (
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/repos/create", create),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", rf"/api/models/{REPO}/preupload/{REVISION}", preupload),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", lfs_batch),
    ("POST", r"/api/lfs-verify", verify),
    ("POST", rf"/api/models/{REPO}/commit/{REVISION}", commit),
)
CDN: tuple[tuple[str, str, Callable[..., None]], ...] = (("PUT", r"/uploads/(?P<sha256>[0-9a-f]{64})", upload),)
