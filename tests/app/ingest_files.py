"""Real files of every kind, a small deterministic embedder, and a look at a whole store."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sqlite3
import time
import zipfile
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from rag_app.settings import Settings
from rankgate.encoders.encoder import TokenVectors

__all__ = [
    "GUIDE",
    "FakeEmbedder",
    "age",
    "contents",
    "make_settings",
    "small_tokenizer",
    "write_bomb",
    "write_docx",
    "write_pdf",
]

GUIDE = """---
title: The Guide
---

# Guide

The gate decides before the second stage. It skips what is already right.

## Install

Run this command on your machine:

```sh
pip install rankgate
# not a heading
```

## Options

| name | meaning |
|------|---------|
| k    | how many candidates |

Setext title
------------

A last paragraph with café, naïve and 東京 in it.
"""


def small_tokenizer():
    """Words and punctuation marks, each one token; offsets into the original text."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


class FakeEmbedder:
    """Bags of hashed words: alike texts are close, the same text always gives the same."""

    def __init__(self, name="fake", dimension=32):
        self.name = name
        self.sha256 = hashlib.sha256(name.encode()).hexdigest()
        self.dimension = dimension
        self.max_length = 256
        self.tokenizer = small_tokenizer()
        self.encoded = []

    def _row(self, word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        row = np.random.default_rng(seed).normal(size=self.dimension)
        return row / np.linalg.norm(row)

    def encode(self, texts):
        self.encoded += texts
        vectors = []
        for text in texts:
            words = re.findall(r"\w+", text.lower()) or ["nothing"]
            rows = np.stack([self._row(word) for word in words])
            pooled = rows.mean(axis=0)
            pooled = pooled / np.linalg.norm(pooled)
            vectors.append(
                TokenVectors(
                    tokens=rows.astype(np.float16),
                    pooled=pooled.astype(np.float32),
                    truncated=False,
                )
            )
        return vectors

    def embed(self, texts):
        return np.stack([v.pooled for v in self.encode(list(texts))])


def make_settings(base, **changes):
    """Settings whose data folder lies in `base`."""
    values = {"data_dir": Path(base) / "data", "chunk_tokens": 40, "chunk_overlap": 8, **changes}
    return Settings(**values)


def age(path, seconds=60):
    """Make a file look old, so that its time of change can be trusted."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def write_pdf(path, pages, *, title=None, headings=(), password=None):
    """A PDF with one text a page; headings[i], if any, is a bookmark and a line of page i."""
    from fpdf import FPDF

    pdf = FPDF()
    if title is not None:
        pdf.set_title(title)
    if password is not None:
        pdf.set_encryption(owner_password=password, user_password=password)
    pdf.set_font("Helvetica", size=11)
    for number, text in enumerate(pages):
        pdf.add_page()
        if number < len(headings) and headings[number] is not None:
            pdf.start_section(headings[number])
            pdf.cell(text=headings[number], new_x="LMARGIN", new_y="NEXT")
        if text:
            pdf.multi_cell(0, text=text)
    pdf.output(str(path))
    return path


def write_docx(path, parts, *, title=None):
    """A Word document of (style, text) parts; style `table` takes rows."""
    import docx

    document = docx.Document()
    if title is not None:
        document.core_properties.title = title
    for style, content in parts:
        if style == "table":
            table = document.add_table(rows=0, cols=len(content[0]))
            for row in content:
                cells = table.add_row().cells
                for cell, text in zip(cells, row, strict=True):
                    cell.text = text
        else:
            document.add_paragraph(content, style=style)
    document.save(str(path))
    return path


def write_bomb(path, megabytes=100):
    """A .docx of a few kilobytes that inflates to very much more."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b"<w>" + b" " * (megabytes * 2**20) + b"</w>")
    Path(path).write_bytes(whole.getvalue())
    return path


def run_sql(path, statement, *values):
    """Do something to an SQLite file that its owner would not."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement, values).fetchall()


def contents(store):
    """Everything a collection holds, in a form that can be compared."""
    ids = store.manifest.chunk_ids(store.collection)
    fetched = dict(zip(ids, store.fetch(ids), strict=True)) if ids else {}
    texts = sorted({text for text, _ in fetched.values()})
    return {
        "documents": [
            (d.id, d.state, d.sha256, d.chunks, d.error)
            for d in store.manifest.documents(store.collection)
        ],
        "chunks": ids,
        "texts": [fetched[i][0] for i in ids],
        "chroma": sorted(store.index.ids()),
        "bm25": list(store.bm25.ids),
        "tokens": sorted(store.token_store.get_many(texts)),
        "token_count": len(store.token_store),
    }
