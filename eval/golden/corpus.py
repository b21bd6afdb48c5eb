"""Writes the golden set's corpus: the pages of docs/, cut as the application cuts them.

    python eval/golden/corpus.py --out build/golden

The questions quote the pages word for word, so a change of the chunker moves the passages and
not the gold. A passage's `document` is its page and section: questions about one section
succeed and fail together, and whole pages would be too few groups to resample.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rag_app.index.embeddings import load_embedder
from rag_app.ingest.chunk import Chunker
from rag_app.ingest.document import Limits
from rag_app.ingest.parser_process import ParserProcess
from rag_app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One row of corpus.jsonl.

    Attributes:
        id: `page.md#3`, the third chunk of the page counted from 0.
        document: `page.md: Section`.
        text: heading path and chunk, as embedded, indexed and scored.
    """

    id: str
    document: str
    text: str


def passages(docs: Path) -> Iterator[Passage]:
    """Every chunk of every page below a folder, pages in sorted order."""
    settings = Settings()
    embedder = load_embedder(settings)
    chunker = Chunker(
        embedder.tokenizer,
        chunk_tokens=settings.chunk_tokens,
        overlap=settings.chunk_overlap,
        max_length=embedder.max_length,
    )
    limits = Limits(
        max_bytes=int(settings.max_file_mb * 2**20),
        max_pages=settings.max_pages,
        timeout_s=settings.parse_timeout_s,
        memory_mb=settings.parse_memory_mb,
    )
    with ParserProcess(limits) as parser:
        for path in sorted(docs.rglob("*.md")):
            page = path.relative_to(docs).as_posix()
            parsed = parser.parse(path, "md")
            for chunk in chunker.chunks(parsed, document_id=page, pipeline="golden"):
                section = chunk.heading[1] if len(chunk.heading) > 1 else "(top)"
                yield Passage(
                    id=f"{page}#{chunk.position}",
                    document=f"{page}: {section}",
                    text=chunk.indexed_text,
                )


def write_corpus(docs: Path, folder: Path) -> int:
    """Write `corpus.jsonl` into a folder, made if it is not there; the number of passages."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        json.dumps({"_id": p.id, "text": p.text, "document": p.document}, ensure_ascii=False)
        for p in passages(docs)
    ]
    if not rows:
        raise SystemExit(f"no Markdown page below {docs}: give the project's docs folder")
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return len(rows)


def main() -> None:
    """Parse the arguments and write."""
    parser = argparse.ArgumentParser(description="Write the golden set's corpus.jsonl.")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="Folder of pages.")
    parser.add_argument("--out", type=Path, required=True, help="Folder for corpus.jsonl.")
    given = parser.parse_args()
    count = write_corpus(given.docs, given.out)
    sys.stderr.write(f"{count} passages in {given.out / 'corpus.jsonl'}\n")


if __name__ == "__main__":
    main()
