"""Training a reranker on one's own data; the command is `rankgate train`.

Importing this is light: torch is loaded by what needs it (extra `train`).
"""

from rankgate.training.checkpoint import RunFolder
from rankgate.training.data import TrainingCorpus, TrainingQuery
from rankgate.training.documents import documents_corpus, read_documents
from rankgate.training.evaluation import DevSet, Look, judged_list, mean_list_loss, raw_scores
from rankgate.training.lists import ListBuilder, TrainingList
from rankgate.training.logged import corpus_from_feedback
from rankgate.training.loss import list_loss
from rankgate.training.mining import MarginRule, Mined, Miner
from rankgate.training.model import PairRanker, Ranker, load_ranker
from rankgate.training.prior import FirstStagePrior
from rankgate.training.query import QueryRanker, load_query_ranker
from rankgate.training.settings import TrainingSettings
from rankgate.training.trainer import HistoryPoint, Trainer, TrainingResult
from rankgate.training.triples import read_triples

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
