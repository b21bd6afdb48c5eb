"""A store in memory: real BM25, and an embedder whose vectors are bags of hashed words."""

from __future__ import annotations

import re
import zlib

import numpy as np

from rankgate import Candidate, Passage, Profile
from rankgate.retrieve import BM25Index

__all__ = ["FakeIndex", "HashEmbedder", "passages_of"]

# Two documents; a passage is (heading, body), bodies are verbatim slices of the document.
DOCUMENTS = {
    "gate": (
        "Gate",
        [
            (
                "Gate > Purpose",
                "The gate decides before the second stage. It skips reranking when the first "
                "stage is already right.",
            ),
            (
                "Gate > Fitting",
                "A *gate* is fitted on labelled queries with `rankgate calibrate`. "
                "Its threshold is a probability of harm.",
            ),
        ],
    ),
    "floor": (
        "Floor",
        [
            (
                "Floor > Refusal",
                "The floor refuses a question when the best passage is too weak.\n\n"
                "- It compares [probabilities](prob.md), never raw scores.\n"
                "- A floor of 0.0 lets everything pass.",
            ),
            ("Floor > Dropping", "Passages below drop_below are dropped one by one."),
        ],
    ),
}


class HashEmbedder:
    """(n, 256) unit vectors: texts are close where they share words."""

    def embed(self, texts):
        vectors = np.zeros((len(texts), 256), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % 256] += 1.0
            vectors[row, 0] += 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, text):
        return len(text.split())


class FakeIndex:
    """Keeps the promises of the store that retrieval and the pipeline rely on."""

    def __init__(self, documents=None):
        self.embedder = HashEmbedder()
        self.token_store = None
        self.texts, self.metadata, self.full = {}, {}, {}
        for document_id, (title, sections) in (documents or DOCUMENTS).items():
            text = ""
            for position, (heading, body) in enumerate(sections):
                text += f"# {heading}\n\n"
                start = len(text)
                text += f"{body}\n\n"
                identifier = f"{document_id}-{position}"
                prefix = f"{heading}\n"
                self.texts[identifier] = prefix + body
                self.metadata[identifier] = {
                    "source": f"{document_id}.md",
                    "title": title,
                    "heading": heading,
                    "start": start,
                    "end": start + len(body),
                    "body_offset": len(prefix),
                    "document_id": document_id,
                    "chunk_id": identifier,
                    "position": position,
                }
            self.full[document_id] = text
        self.ids = list(self.texts)
        self.vectors = self.embedder.embed(list(self.texts.values())) if self.ids else None
        self.bm25 = BM25Index.build(self.texts.items())

    def count(self):
        return len(self.ids)

    def profile(self):
        return Profile(space="cosine")

    def dense(self, vector, k):
        cosines = dict(zip(self.ids, self.cosines(vector, self.ids), strict=True))
        return dict(sorted(cosines.items(), key=lambda item: -item[1])[:k])

    def cosines(self, vector, ids):
        return [float(self.vectors[self.ids.index(i)] @ vector) for i in ids]

    def present(self, ids):
        return {i for i in ids if i in self.texts}

    def fetch(self, ids):
        return [(self.texts[i], self.metadata[i]) for i in ids]

    def document_text(self, document_id):
        return self.full[document_id]


def passages_of(index, ids):
    """Kept passages for a generator, in this order."""
    return [
        Passage(
            candidate=Candidate(id=i, text=index.texts[i], rank=n, metadata=index.metadata[i]),
            index=n - 1,
            rank=n,
            relevance_score=0.5,
        )
        for n, i in enumerate(ids, start=1)
    ]
