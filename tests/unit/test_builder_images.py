"""The tool that lists and pins the builders' images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools import builder_images

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(builder_images, "TEMPLATES", tmp_path)
    (tmp_path / "a.yaml").write_text(
        f"  image: moby/x:v1\n      image: r.example:5000/y/z:2@sha256:{'b' * 64}\n  # image: no\n"
    )
    return tmp_path


def test_images_are_pinned_to_digests_and_pinned_anew(templates: Path) -> None:
    assert builder_images.images() == {
        "moby/x:v1": None,
        "r.example:5000/y/z:2": f"sha256:{'b' * 64}",
    }
    builder_images.pin(dict.fromkeys(builder_images.images(), DIGEST))
    assert set(builder_images.images().values()) == {DIGEST}
    assert (templates / "a.yaml").read_text().splitlines()[2] == "  # image: no"


def test_every_image_of_the_templates_has_a_version() -> None:
    for image in builder_images.images():
        assert any(character.isdigit() for character in image.rpartition(":")[2]), image


def test_a_registry_that_wants_a_token_is_asked_with_one() -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def head(url: str, *, headers: dict[str, str], timeout: float) -> Any:
        asked.append((url, dict(headers)))
        if "Authorization" not in headers:
            challenge = 'Bearer realm="https://auth.example/token",service="registry"'
            return SimpleNamespace(status_code=401, headers={"WWW-Authenticate": challenge})
        found = {"Docker-Content-Digest": DIGEST}
        return SimpleNamespace(status_code=200, headers=found, raise_for_status=lambda: None)

    def get(url: str, *, params: dict[str, str], timeout: float) -> Any:
        assert (url, params["scope"]) == ("https://auth.example/token", "repository:moby/x:pull")
        return SimpleNamespace(json=lambda: {"token": "t"})

    session: Any = SimpleNamespace(head=head, get=get)
    assert builder_images.digest_of("moby/x:v1", session) == DIGEST
    assert asked[1][0] == "https://registry-1.docker.io/v2/moby/x/manifests/v1"
    assert asked[1][1]["Authorization"] == "Bearer t"
