"""What the contract suites share: every scorer, how they differ, and inputs that hurt."""

from dataclasses import dataclass

import pytest
import rerank_servers as servers
import tiny_models as tiny

from rankgate.scorers import Cascade
from rankgate.scorers.wrappers import Batched, Breaker, Cached, Windowed
from rankgate.testing import FakeScorer

QUERY = "what is the capital of france"
TEXTS = [
    "paris is the capital of france",
    "the cat sat on the mat",
    "",
    "berlin is the capital of germany",
    "   ",
    "paris is the capital of france",
    "water in the river",
    "😀🚀 emoji 👩‍👩‍👧",
    "שלום עולם مرحبا",
    "nul\x00inside",
    "lone \ud800 surrogate \udfff",
    "line\nbreak\ttab\r",
    "",
    "no bread there",
    "dog " * 30,
    "bird",
    "flies",
    "people live there",
    "red",
    "green",
]
NATIVE_DIALECTS = sorted(servers.RULES)


WRAPPERS = {
    "windowed": Windowed,
    "cached": Cached,
    "breaker": Breaker,
    "batched": Batched,
}


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What differs from scorer to scorer, and why.

    Attributes:
        tolerance: how much a score may depend on its neighbours in the batch; 0 for none.
        chunk: texts after which the clock is read.
        pickles, forks: see the table above.
        own_looks: how often it reads the clock itself before the first text.
    """

    tolerance: float = 0.0
    chunk: int = 1
    pickles: bool = True
    forks: bool = True
    own_looks: int = 0


TRAITS = {
    "fake": Traits(),
    # Padding to the longest of a chunk changes the order in which floats are added up.
    "late_interaction": Traits(tolerance=2e-3, chunk=8),
    "cross_encoder": Traits(tolerance=1e-4, chunk=8),
    "onnx": Traits(tolerance=1e-5, chunk=8),
    **{f"remote_{name}": Traits(chunk=4) for name in NATIVE_DIALECTS},
    # Wrappers and stages are scorers too, and promise the same.
    **{name: Traits() for name in ("windowed", "cached", "breaker", "cascade")},
    "batched": Traits(own_looks=4),
}
SCORERS = [
    pytest.param(name, marks=pytest.mark.model if name == "late_interaction" else ())
    for name in TRAITS
]
# One of the eight dialects is enough where only client code that all share is exercised.
FEW = [p for p in SCORERS if p.values[0] not in {f"remote_{n}" for n in NATIVE_DIALECTS[1:]}]


@pytest.fixture(scope="session")
def contract_folder(tmp_path_factory):
    folder = tiny.build_cross_encoder(tmp_path_factory.mktemp("contract") / "tiny")
    tiny.export_onnx(folder)
    return folder


@pytest.fixture(scope="session")
def contract_scorers(contract_folder):
    """Builds each scorer once, when it is first asked for."""
    import torch

    made, running = {}, []
    before = torch.get_num_threads()
    # Tiny batches: torch's threads would mostly wait for one another.
    torch.set_num_threads(1)

    def build(name):
        if name == "fake":
            return FakeScorer()
        if name == "cascade":
            return Cascade(FakeScorer(), FakeScorer(), keep=10_000)
        if name in WRAPPERS:
            wrapped = WRAPPERS[name](FakeScorer())
            if isinstance(wrapped, Batched):
                running.append(wrapped)
            return wrapped
        if name == "late_interaction":
            from rankgate.scorers.late_interaction import LateInteractionScorer

            return LateInteractionScorer.load()
        if name == "cross_encoder":
            from rankgate.scorers.cross_encoder import CrossEncoderScorer

            return CrossEncoderScorer(contract_folder)
        if name == "onnx":
            from rankgate.scorers.onnx import OnnxScorer

            return OnnxScorer(contract_folder, threads=1)
        from rankgate.scorers.remote.scorer import RemoteScorer

        server = servers.RerankServer(name.removeprefix("remote_"))
        running.append(server)
        scorer = RemoteScorer(server.url, dialect=server.dialect, model=servers.MODEL, max_batch=4)
        running.append(scorer)
        return scorer

    def get(name):
        if name not in made:
            made[name] = build(name)
        return made[name]

    yield get
    for thing in reversed(running):
        thing.close()
    torch.set_num_threads(before)


@pytest.fixture
def scorer(request, contract_scorers):
    found = contract_scorers(request.param)
    if request.param == "cached":
        found.clear()  # what an earlier test asked is known, deadline or not
    return found


@pytest.fixture
def traits(request):
    return TRAITS[request.node.callspec.params["scorer"]]


def over(scorers):
    return pytest.mark.parametrize("scorer", scorers, indirect=True)
