"""What the arms hand over is decided by a policy that fits; another one hands over nothing."""

import eval_world as w
import pytest

from rankgate import Policy
from rankgate.decide.section import Section
from rankgate.errors import ProfileMismatchError
from rankgate.profile import Profile
from rankgate_eval.answers import AskedQuestion, hand_over

DATA = w.world()
ASKED = [AskedQuestion(id=q, text=text) for q, text in list(DATA.queries.items())[:3]]


@pytest.mark.parametrize("strange", ["scorer", "analyser"])
def test_a_policy_for_another_scorer_or_first_stage_hands_over_nothing(strange):
    own = Profile(**{strange: "another"})
    policy = Policy(name="own", sections={"bm25": Section(profile=own)})
    with pytest.raises(ProfileMismatchError, match="another"):
        hand_over(w.stage_of(DATA), DATA, ASKED, scorer=w.knowing(), policy=policy)


def test_a_policy_that_fits_decides():
    stage = w.stage_of(DATA)
    own = Profile(analyser=stage.index.bm25.analyser.name, scorer=w.knowing().info.id)
    policy = Policy(name="own", sections={"bm25": Section(profile=own, top_n=2)})
    handed = hand_over(stage, DATA, ASKED, scorer=w.knowing(), policy=policy)
    assert handed.policy.name == "own" and handed.first_stage == "bm25" and handed.top_n == 2
    for arm in ("first_stage", "rerank", "policy"):
        assert [len(handed.arms[arm][q.id].ids) for q in ASKED] == [2, 2, 2]
