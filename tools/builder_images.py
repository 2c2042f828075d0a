"""The images that the Job templates name: listed, and moved to what their registries have now.

    python tools/builder_images.py          lists them
    python tools/builder_images.py --move   pins each tag to the digest that it has now

A digest is of the whole index, for every platform. Needs the network for ``--move`` only. To take
another version, change the tag in the template (without a digest), and move.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import requests

TEMPLATES = Path(__file__).resolve().parents[1] / "lambda_builder" / "manifest" / "templates"
_IMAGE = re.compile(r"^(\s+image: )(\S+?)(@sha256:[0-9a-f]{64})?$", re.MULTILINE)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_TIMEOUT_SECONDS = 30


def images() -> dict[str, str | None]:
    """Return the images of all templates, by name and tag, with the digests they are pinned to."""
    found: dict[str, str | None] = {}
    for path in sorted(TEMPLATES.glob("*.yaml")):
        for _, name, digest in _IMAGE.findall(path.read_text(encoding="utf-8")):
            found[name] = digest.removeprefix("@") or None
    return found


def digest_of(image: str, session: requests.Session) -> str:
    """Return the digest that a registry has for ``image`` now; raises ``requests``' errors."""
    host, path, tag = _parts(image)
    url = f"https://{host}/v2/{path}/manifests/{tag}"
    headers = {"Accept": _ACCEPT}
    answer = session.head(url, headers=headers, timeout=_TIMEOUT_SECONDS)
    if answer.status_code == requests.codes.unauthorized:
        challenge = dict(_CHALLENGE.findall(answer.headers.get("WWW-Authenticate", "")))
        token = session.get(
            challenge["realm"],
            params={"service": challenge.get("service", ""), "scope": f"repository:{path}:pull"},
            timeout=_TIMEOUT_SECONDS,
        ).json()
        headers["Authorization"] = f"Bearer {token.get('token') or token['access_token']}"
        answer = session.head(url, headers=headers, timeout=_TIMEOUT_SECONDS)
    answer.raise_for_status()
    digest = answer.headers["Docker-Content-Digest"]
    if not _DIGEST.fullmatch(digest):
        raise requests.RequestException(f"{image}: {digest!r} is no digest")
    return digest


def _parts(image: str) -> tuple[str, str, str]:
    name, _, tag = image.rpartition(":")
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host):
        return "registry-1.docker.io", name if slash else f"library/{name}", tag
    return host, path, tag


def pin(digests: dict[str, str]) -> None:
    """Write the digests into all templates."""
    for path in TEMPLATES.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        pinned = _IMAGE.sub(lambda found: f"{found[1]}{found[2]}@{digests[found[2]]}", text)
        path.write_text(pinned, encoding="utf-8")


def main() -> None:
    """List or move."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--move", action="store_true")
    if parser.parse_args().move:
        with requests.Session() as session:
            pin({image: digest_of(image, session) for image in images()})
    for image, digest in images().items():
        sys.stdout.write(f"{image}  {digest or '(not pinned)'}\n")


if __name__ == "__main__":
    main()
