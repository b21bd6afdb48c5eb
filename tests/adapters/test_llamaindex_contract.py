"""The contract suite of all adapters, run against every constructor of LlamaIndex's retriever."""

import pytest
import test_adapter_contract as suite
from llama_index.core.base.base_retriever import BaseRetriever

from llama_index.postprocessor.rankgate import RankGateRetriever
from rankgate import Candidate

# Collected here once more, with the `driver` of this module.
globals().update({n: f for n, f in vars(suite).items() if n.startswith("test_")})


class Listed(BaseRetriever):
    """Gives the nodes that it was made with."""

    def __init__(self, nodes):
        super().__init__()
        self.nodes = nodes

    def _retrieve(self, query_bundle):
        return self.nodes


class OverRetriever(suite.kit.Llama):
    def build(self, passages, **settings):
        self.inputs = suite.kit.as_nodes(passages)
        return RankGateRetriever.from_retriever(Listed(self.inputs), **settings)

    def call(self, component):
        return self.rows(component.retrieve(suite.kit.QUERY))

    async def acall(self, component):
        return self.rows(await component.aretrieve(suite.kit.QUERY))


class OverRetrievers(OverRetriever):
    """Two retrievers with the same list, which reciprocal ranks leave in its order."""

    def build(self, passages, **settings):
        self.inputs = suite.kit.as_nodes(passages)
        children = [Listed(self.inputs), Listed(self.inputs)]
        return RankGateRetriever.from_retrievers(children, **settings)


class OverChromaScores(OverRetriever):
    kind = "dense"

    def build(self, passages, **settings):
        self.inputs = suite.kit.as_nodes(passages)
        return RankGateRetriever.from_chroma(Listed(self.inputs), space="cosine", **settings)


class OverFirstStage(OverRetriever):
    kind = "dense"

    def build(self, passages, **settings):
        self.inputs = [
            Candidate(id=p.id, text=p.text, rank=i, metadata=dict(p.metadata), dense=p.dense)
            for i, p in enumerate(passages, start=1)
        ]
        return RankGateRetriever.from_first_stage(
            lambda query, k: self.inputs[:k], kind="dense", **settings
        )


class InABatch(OverRetriever):
    """The same through `retrieve_many`."""

    def call(self, component):
        return self.rows(component.retrieve_many([suite.kit.QUERY])[0])

    async def acall(self, component):
        return self.rows((await component.aretrieve_many([suite.kit.QUERY]))[0])


DRIVERS = (OverRetriever, OverRetrievers, OverChromaScores, OverFirstStage, InABatch)


@pytest.fixture(params=DRIVERS, ids=lambda d: d.__name__)
def driver(request):
    return request.param(None)
