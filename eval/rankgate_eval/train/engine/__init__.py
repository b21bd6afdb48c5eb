"""Training a reranker on one's own data; the command is `rankgate train`.

Importing this is light: torch is loaded by what needs it (extra `train`).
"""

from rankgate_eval.train.engine.checkpoint import RunFolder
from rankgate_eval.train.engine.data import TrainingCorpus, TrainingQuery
from rankgate_eval.train.engine.documents import documents_corpus, read_documents
from rankgate_eval.train.engine.evaluation import (
    DevSet,
    Look,
    judged_list,
    mean_list_loss,
    raw_scores,
)
from rankgate_eval.train.engine.lists import ListBuilder, TrainingList
from rankgate_eval.train.engine.logged import corpus_from_feedback
from rankgate_eval.train.engine.loss import list_loss
from rankgate_eval.train.engine.mining import MarginRule, Mined, Miner
from rankgate_eval.train.engine.model import PairRanker, Ranker, load_ranker
from rankgate_eval.train.engine.prior import FirstStagePrior
from rankgate_eval.train.engine.query import QueryRanker, load_query_ranker
from rankgate_eval.train.engine.settings import TrainingSettings
from rankgate_eval.train.engine.trainer import HistoryPoint, Trainer, TrainingResult
from rankgate_eval.train.engine.triples import read_triples

__all__ = [
    "DevSet",
    "FirstStagePrior",
    "HistoryPoint",
    "ListBuilder",
    "Look",
    "MarginRule",
    "Mined",
    "Miner",
    "PairRanker",
    "QueryRanker",
    "Ranker",
    "RunFolder",
    "Trainer",
    "TrainingCorpus",
    "TrainingList",
    "TrainingQuery",
    "TrainingResult",
    "TrainingSettings",
    "corpus_from_feedback",
    "documents_corpus",
    "judged_list",
    "list_loss",
    "load_query_ranker",
    "load_ranker",
    "mean_list_loss",
    "raw_scores",
    "read_documents",
    "read_triples",
]
