"""Builds tiny models with random weights on disk, and exports a cross-encoder to ONNX."""

import json
import warnings
from pathlib import Path
from typing import Any

WORDS = (
    "the a of is in and to for with how what who where paris berlin capital france germany river "
    "cat dog bird sat on mat flies blue sky red green water bread how many people live there no"
).split()


def build_tokenizer(folder: Path, max_length: int) -> int:
    """Write tokenizer.json, a WordPiece over a few words and all visible ASCII; its size."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    entries += [f"##{c}" for c in letters] + [w for w in WORDS if w not in letters]
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {
        f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **special,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return len(vocabulary)


def build_cross_encoder(folder: Path, *, labels: int = 1, max_length: int = 64) -> Path:
    """Write config.json, model.safetensors and the tokenizer; the same weights each time."""
    from transformers import BertForSequenceClassification

    return _build(
        folder,
        BertForSequenceClassification,
        seed=7,
        max_length=max_length,
        num_labels=labels,
        # Large weights, so that different texts get clearly different scores.
        initializer_range=0.4,
        attn_implementation="eager",
    )


def build_encoder(folder: Path, *, max_length: int = 64) -> Path:
    """A tiny sentence encoder, as sentence-transformers saves its transformer."""
    from transformers import BertModel

    return _build(folder, BertModel, seed=3, max_length=max_length, initializer_range=0.3)


def layers_of(encoder: Any) -> dict[str, Any]:
    """Every tensor of a saved encoder by its name, as numpy arrays."""
    from safetensors.numpy import load_file

    return load_file(str(encoder.files.folder / "model.safetensors"))


def _build(folder: Path, kind: Any, *, seed: int, max_length: int, **config: Any) -> Path:
    """A BERT of two narrow layers with random weights, and the tokenizer."""
    import torch
    from transformers import BertConfig

    folder.mkdir(parents=True, exist_ok=True)
    size = build_tokenizer(folder, max_length)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(
            BertConfig(
                vocab_size=size,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=max_length,
                **config,
            )
        )
    model.save_pretrained(folder)
    return folder


def export_onnx(folder: Path, *, name: str = "model.onnx", token_types: bool = True) -> Path:
    """Export the saved cross-encoder beside itself and return the file."""
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    inputs = ["input_ids", "attention_mask"] + (["token_type_ids"] if token_types else [])

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model.eval()

        def forward(self, *values):
            return self.model(**dict(zip(inputs, values, strict=True))).logits

    example = tuple(torch.ones(2, 6, dtype=torch.long) for _ in inputs)
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated, and takes a second instead of ten.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(),
            example,
            str(file),
            dynamo=False,
            input_names=inputs,
            output_names=["logits"],
            dynamic_axes={n: {0: "batch", 1: "tokens"} for n in inputs} | {"logits": {0: "batch"}},
        )
    return file
