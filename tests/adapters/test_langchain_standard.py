"""LangChain's own standard suite for retrievers, over each way of making ours."""

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_rankgate import RankGateRetriever
from rankgate.testing import FakeScorer, candidates_of

TEXTS = ["red apple", "green pear", "red green fish", "blue whale", "green tea", "red wine"]


class Fixed(BaseRetriever):
    rows: list

    def _get_relevant_documents(self, query, *, run_manager):
        return self.rows


class StandardTests(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _parts(self, make_chroma, policies):
        self.make_chroma = make_chroma
        self.settings = {"scorer": FakeScorer(), "policy": policies.fitted}

    @property
    def retriever_query_example(self):
        return "red green"

    @property
    def num_results_arg_name(self):
        return "top_n"


class TestFromChroma(StandardTests):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_chroma

    @property
    def retriever_constructor_params(self):
        cosines = [(text, 0.9 - i / 10) for i, text in enumerate(TEXTS)]
        return {"vectorstore": self.make_chroma(cosines), **self.settings}


class TestFromVectorStore(TestFromChroma):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_vectorstore


class TestFromVectorStoreHybrid(TestFromVectorStore):
    @property
    def retriever_constructor_params(self):
        return {**super().retriever_constructor_params, "hybrid": True}


class TestFromAStoresRetriever(TestFromChroma):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_retriever

    @property
    def retriever_constructor_params(self):
        params = super().retriever_constructor_params
        return {"retriever": params.pop("vectorstore").as_retriever(), **params}


class TestFromRetriever(StandardTests):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_retriever

    @property
    def retriever_constructor_params(self):
        child = Fixed(rows=[Document(page_content=text) for text in TEXTS])
        return {"retriever": child, **self.settings}


class TestFromRetrievers(StandardTests):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_retrievers

    @property
    def retriever_constructor_params(self):
        forward = Fixed(rows=[Document(page_content=text) for text in TEXTS[:4]])
        backward = Fixed(rows=[Document(page_content=text) for text in TEXTS[:1:-1]])
        return {"retrievers": [forward, backward], **self.settings}


class TestFromPolicy(StandardTests):
    @pytest.fixture(autouse=True)
    def _file(self, _parts, policies, tmp_path):
        self.file = tmp_path / "policy.json"
        policies.fitted.save(self.file)

    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_policy

    @property
    def retriever_constructor_params(self):
        cosines = [(text, 0.9 - i / 10) for i, text in enumerate(TEXTS)]
        return {
            "policy": str(self.file),
            "first_stage": self.make_chroma(cosines),
            "scorer": self.settings["scorer"],
        }


class TestFromFirstStage(StandardTests):
    @property
    def retriever_constructor(self):
        return RankGateRetriever.from_first_stage

    @property
    def retriever_constructor_params(self):
        found = candidates_of(TEXTS, dense=[0.9 - i / 10 for i in range(len(TEXTS))])
        return {"first_stage": lambda query, k: found[:k], **self.settings}


# Whoever comes from `as_retriever(search_kwargs={"k": 3})` counts in k.
class TestFromChromaCountedInK(TestFromChroma):
    @property
    def num_results_arg_name(self):
        return "k"


class TestFromRetrieverCountedInK(TestFromRetriever):
    @property
    def num_results_arg_name(self):
        return "k"


class TestFromRetrieversCountedInK(TestFromRetrievers):
    @property
    def num_results_arg_name(self):
        return "k"


class TestFromFirstStageCountedInK(TestFromFirstStage):
    @property
    def num_results_arg_name(self):
        return "k"
