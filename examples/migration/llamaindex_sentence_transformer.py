"""From LlamaIndex's SentenceTransformerRerank and SimilarityPostprocessor to RankGateRerank.

Run: python examples/migration/llamaindex_sentence_transformer.py (offline; needs the extra `torch`)
A tiny model with random weights stands for the cross-encoder, so that nothing is downloaded: what
it prefers means nothing, but both sides must prefer the same.
"""

import json
import tempfile
from pathlib import Path

from llama_index.core.postprocessor import SentenceTransformerRerank, SimilarityPostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.postprocessor.rankgate import RankGateRerank
from rankgate import Floor, Policy, RelevanceModel, Section
from rankgate.decide.logistic import Feature, Logistic
from rankgate.scorers import CrossEncoderScorer

FOUND = [
    "The library opens at nine.",
    "Books are lent for four weeks.",
    "Lost books are to be paid for.",
    "Reading rooms are on the second floor.",
]
QUESTION = "for how many weeks are books lent"
CUTOFF = 0.3


def build_tiny_model(folder):
    """Writes a BERT of two layers and a tokenizer of single letters."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(chr(c) for c in range(33, 127))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(letters)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 128,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    torch.manual_seed(11)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(letters), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=64, max_position_embeddings=128, num_labels=1,
            initializer_range=0.4,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return str(folder)


def before(model):
    return [
        SentenceTransformerRerank(model=model, top_n=2, device="cpu"),
        SimilarityPostprocessor(similarity_cutoff=CUTOFF),
    ]


def after(model):
    # The sigmoid of the model's logit is what SentenceTransformerRerank shows, so this policy
    # behaves as before. Nobody has calibrated that number: `rankgate calibrate` fits the
    # probability, the floor and a gate, and RankGateRerank.from_policy("policy.json", ...) uses
    # them.
    sigmoid = RelevanceModel(
        model=Logistic(intercept=0.0, features=(Feature(name="raw", weight=1.0),)), scale="logit"
    )
    section = Section(reranked=sigmoid, floor=Floor(drop_below=CUTOFF), top_n=2)
    policy = Policy(name="as before", sections={"order": section})
    return [RankGateRerank(scorer=CrossEncoderScorer(model, device="cpu"), policy=policy)]


def nodes():
    return [
        NodeWithScore(node=TextNode(id_=f"n{i}", text=text), score=0.9 - i / 10)
        for i, text in enumerate(FOUND)
    ]


def run(postprocessors, given):
    for postprocessor in postprocessors:
        given = postprocessor.postprocess_nodes(given, query_str=QUESTION)
    return given


def main():
    with tempfile.TemporaryDirectory() as folder:
        model = build_tiny_model(Path(folder))
        old_way, new_way = before(model), after(model)
    given = nodes()
    old = run(old_way, given)
    print(f"before, the first stage's scores are gone: {[n.score for n in given] != [0.9, 0.8]}")
    given = nodes()
    new = run(new_way, given)
    print(f"after, they are where they were: {given == nodes()}")
    same = [n.node_id for n in old] == [n.node_id for n in new]
    close = all(abs(a.score - b.score) < 1e-5 for a, b in zip(old, new, strict=True))
    print(f"the same {len(new)} nodes in the same order: {same}, with the same scores: {close}")
    for node in new:
        print(f"  {node.score:.3f} {node.metadata['rankgate_outcome']}: {node.node.text}")

    class Down:
        info = new_way[0]._engine.get().scorer.info

        def score(self, query, texts, context=None):
            raise RuntimeError("out of memory")

    policy = Policy.unfitted(top_n=2)
    degraded = run([RankGateRerank(scorer=Down(), policy=policy)], nodes())
    print(f"after, when the model fails: {degraded[0].metadata['rankgate_outcome']}, ", end="")
    print([n.node_id for n in degraded])


if __name__ == "__main__":
    main()
