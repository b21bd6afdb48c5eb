"""Finds the files of an ingestion: sorted, each once, nothing hidden."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag_app.errors import NothingToIngestError
from rag_app.ingest.formats import KINDS, has_ocr


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file to ingest.

    Attributes:
        path: real path, links resolved.
        source: as the user gave it, with forward slashes.
        name: relative to the given folder; of a file that was given itself, its own name.
        kind: one of `formats.FORMATS`; None: not a kind that is read, but named explicitly.
    """

    path: Path
    source: str
    name: str
    kind: str | None


@dataclass(slots=True, kw_only=True)
class Walk:
    """What was found.

    Attributes:
        files: in walking order, each real file once.
        folders: real paths of the folders that were given: a document that was under one of
            them, and whose file is gone, is removed.
        gone: real paths that were given and lead nowhere.
        skipped: what was passed over, by why.
        unreadable: folders that could not be listed: source and why.
        refused: absolute paths of links that lead out of the given folders, or into a closed one.
    """

    files: list[Found] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    gone: list[tuple[Path, str]] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)


def walk(paths: Sequence[str | Path], *, exclude: Iterable[Path] = ()) -> Walk:
    """Files under the given files and folders.

    Symbolic links are followed as long as they stay below the given folders, a loop once: whoever
    may write into a shared folder must not choose what else is read. Hidden files and folders
    below a given folder are passed over, and so are files of other kinds, devices, pipes, and
    pictures where there is no OCR; all are named.

    Args:
        exclude: folders of which nothing is read, even if named, such as the data folder.

    Raises:
        NothingToIngestError: no path was given.
    """
    if not paths:
        raise NothingToIngestError("no path was given; name the files or folders to ingest")
    found = Walk()
    seen: set[Path] = set()
    closed = [p.resolve() for p in exclude]
    roots = [Path(given).expanduser() for given in paths]
    given = [real for root in roots if (real := root.resolve()).is_dir()]

    def allowed(path: Path, real: Path) -> bool:
        if any(real.is_relative_to(folder) for folder in closed):
            found.skipped["of the data folder"].append(path.as_posix())
        elif path in roots or any(real.is_relative_to(folder) for folder in given):
            return True
        else:
            found.skipped["link that leaves the folder"].append(path.as_posix())
        found.refused.add(Path(os.path.abspath(path)))
        return False

    for root in roots:
        real = root.resolve()
        if not real.exists():
            found.gone.append((real, root.as_posix()))
        elif real.is_dir():
            found.folders.append(real)
            for path, hidden in _files_under(root, allowed, found):
                name = path.relative_to(root).as_posix()
                _take(path, name, allowed, found, seen, hidden=hidden)
        else:
            _take(root, real.name, allowed, found, seen, explicit=True)
    return found


def _files_under(
    root: Path, allowed: Callable[[Path, Path], bool], found: Walk
) -> Iterator[tuple[Path, bool]]:
    entered: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        real = folder.resolve()
        if real in entered or not allowed(folder, real):
            continue
        entered.add(real)
        try:
            names = sorted(os.listdir(folder))
        except OSError as exc:
            found.unreadable.append((folder.as_posix(), exc.strerror or str(exc)))
            continue
        inner = []
        for name in names:
            path = folder / name
            hidden = name.startswith(".")
            if path.is_dir():
                if hidden:
                    found.skipped["hidden"].append(path.as_posix())
                else:
                    inner.append(path)
            else:
                yield path, hidden
        waiting += reversed(inner)


def _take(
    path: Path,
    name: str,
    allowed: Callable[[Path, Path], bool],
    found: Walk,
    seen: set[Path],
    *,
    hidden: bool = False,
    explicit: bool = False,
) -> None:
    source = path.as_posix()
    if hidden:
        found.skipped["hidden"].append(source)
        return
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError):  # a dangling or circular link
        found.skipped["broken link"].append(source)
        return
    kind = KINDS.get(path.suffix.lower())
    if not stat.S_ISREG(mode):
        found.skipped["not a file"].append(source)
    elif real in seen:
        found.skipped["already seen"].append(source)
    elif kind is None and not explicit:
        found.skipped["unsupported"].append(source)
    elif kind == "picture" and not explicit and not has_ocr():
        found.skipped["picture, and no tesseract is installed"].append(source)
    elif allowed(path, real):
        seen.add(real)
        found.files.append(Found(path=real, source=source, name=name, kind=kind))
