"""The contract kit over our components, and over ones that are broken on purpose."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import contract_adapters as adapters
import contract_checks as checks
import pytest

RESULTS = Path(__file__).resolve().parents[2] / "eval" / "results" / "peers_contract.json"


kit = adapters.kit
BY_NAME = {check.run.__name__: check for check in checks.CHECKS}


@pytest.mark.parametrize("check", BY_NAME)
@pytest.mark.parametrize("adapter", adapters.OUR_ADAPTERS, ids=lambda a: a.__name__)
def test_ours_pass_whatever_they_offer(adapter, check):
    result = kit.result_of(BY_NAME[check], adapter())
    assert result.status in ("passed", "not offered"), result.reason


def test_ours_offer_all_but_a_floor_on_raw_scores():
    missing = {
        check.needs
        for check in checks.CHECKS
        if check.needs and check.needs not in adapters.OursOverNodes.offers
    }
    assert missing == {"raw floor"}


Ours, Peer = adapters.OursOverNodes, adapters.LlamaSentenceTransformerAndCutoff


class Reversed(Ours):
    def run(self, component, inputs, query=kit.QUERY):
        return super().run(component, inputs, query)[::-1]


class Absolute(Ours):
    """Takes scores for their size."""

    def make(self, model, **how):
        scores = model.scores
        model.scores = lambda q, t: abs(scores(q, t))
        return super().make(model, **how)


class Forgets(Ours):
    def run(self, component, inputs, query=kit.QUERY):
        results = super().run(component, inputs, query)
        for r in results:
            r.node = r.node.model_copy(update={"metadata": {}})
        return results


class InPlace(Ours):
    def run(self, component, inputs, query=kit.QUERY):
        results = super().run(component, inputs, query)
        for r in inputs:
            r.node.metadata["seen"] = r.node.metadata.get("seen", 0) + 1
            r.score = (r.score or 0.0) / 2.0
        return [r for w in results for r in inputs if r.node_id == w.node_id]


class Leaks(Ours):
    """Puts its metadata where embeddings and prompts read it."""

    def run(self, component, inputs, query=kit.QUERY):
        results = super().run(component, inputs, query)
        for r in results:
            r.node.excluded_embed_metadata_keys = []
            r.node.excluded_llm_metadata_keys = []
        return results


class AlwaysAsks(Ours):
    def make(self, model, **how):
        self.model = model
        return super().make(model, **how)

    def run(self, component, inputs, query=kit.QUERY):
        self.model.predict([(query, "warm up")])
        return super().run(component, inputs, query)

    def refused(self, model, inputs):
        return [], ""

    def announced(self, model):
        return []


class Loses(Ours):
    """Loses the first passage, and one of equal texts."""

    def run(self, component, inputs, query=kit.QUERY):
        results = super().run(component, inputs, query)
        seen = set()
        distinct = [r for r in results if not (r.node.text in seen or seen.add(r.node.text))]
        return distinct[:-1]


class LastFirst(Ours):
    """Breaks ties from behind."""

    def run(self, component, inputs, query=kit.QUERY):
        results = super().run(component, inputs, query)
        return sorted(results[::-1], key=lambda r: -r.score)


class NoNumbers(Ours):
    """Ignores options, swallows what it does not know, and hides every number."""

    def make(self, model, **how):
        return super().make(model, skip=how.get("skip", False) and False)

    def row(self, result):
        row = super().row(result)
        hidden = {"relevance_score": 2.0, **row.metadata}
        return kit.Row(id=row.id, text=row.text, metadata=hidden, score=0.0, before=None)


class Blocks(Ours):
    async def arun(self, component, inputs, query=kit.QUERY):
        return self.run(component, inputs, query)[:-1]


class Unpicklable(Ours):
    def make(self, model, **how):
        return super().make(model, on_outcome=lambda outcome: None, **how)


class Trusting(Peer):
    """Believes every score, cuts strictly above the floor, and fails with its model."""

    offers = Peer.offers | {"fallback", "calibration"}

    def run(self, component, inputs, query=kit.QUERY):
        try:
            results = super().run(component, inputs, query)
        except AssertionError:  # the peer notices a missing score
            return inputs[:-1]
        scores = {r.score for r in results}
        return results[:-1] if len(scores) == 1 and scores != {0.5} else results


class Strict(Peer):
    """A cut-off that drops what is exactly at it, and takes 0.0 for none."""

    def make(self, model, *, floor=None, **options):
        component = super().make(model, **options)
        if not floor:
            return component

        class Above:
            def postprocess_nodes(self, nodes, query_str):
                found = component.postprocess_nodes(nodes, query_str=query_str)
                return [n for n in found if n.score > floor]

        return Above()


BROKEN = (
    Reversed, Absolute, Forgets, InPlace, Leaks, AlwaysAsks, Loses, LastFirst, NoNumbers, Blocks,
    Unpicklable, Trusting, Strict,
)  # fmt: skip


@pytest.mark.parametrize("check", BY_NAME)
def test_each_check_fails_where_something_is_broken(check):
    assert any(kit.result_of(BY_NAME[check], broken()).status == "failed" for broken in BROKEN)


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def test_the_committed_table_is_what_the_kit_says():
    """Of the peers only where their versions are those of the table."""
    table = json.loads(RESULTS.read_text("utf-8"))
    same = {name: installed(name) for name in table["versions"]} == table["versions"]
    everyone = (*adapters.OUR_ADAPTERS, *adapters.PEER_ADAPTERS)
    assert [c["name"] for c in table["components"]] == [a.name for a in everyone]
    for adapter, column in zip(everyone, table["components"], strict=True):
        if adapter in adapters.OUR_ADAPTERS or same:
            for check in checks.CHECKS:
                result = kit.result_of(check, adapter())
                assert column["checks"][check.run.__name__] == {
                    "status": result.status, "reason": result.reason,
                }, check.says  # fmt: skip
