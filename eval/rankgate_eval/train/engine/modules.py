"""The torch modules behind `rankgate_eval.train.engine.model`; importing this needs torch.

They are written so that torch exports them to ONNX with the inputs of any cross-encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from rankgate.encoders.encoder import without_progress_bar
from rankgate.errors import ConfigError

__all__ = [
    "Column",
    "HeadModule",
    "JointModule",
    "PlainModule",
    "QueryModule",
    "joint_module",
    "plain_module",
]

# Softmax over cosines is nearly flat; ColBERT's sum over about 20 query tokens has this slope.
_FIRST_SCALE = 20.0
_POOLED = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "mpnet"})


class JointModule(torch.nn.Module):
    """MaxSim between the jointly encoded tokens of query and passage, plus a pooled head.

    score = scale * mean over query tokens of the best cosine among passage tokens
            + w . tanh(W mean of all tokens + b)

    `w` starts at zero, so that the untrained model is MaxSim alone. Token types tell the two
    texts apart here, but the transformer gets zeros: a sentence encoder has never seen others.

    Args:
        body: a transformer that gives `last_hidden_state`.
        special: ids of the tokens that belong to neither text ([CLS], [SEP]).
    """

    special: torch.Tensor

    def __init__(self, body: torch.nn.Module, *, hidden: int, special: tuple[int, ...]) -> None:
        super().__init__()
        self.body = body
        self.scale = torch.nn.Parameter(torch.tensor(_FIRST_SCALE))
        self.dense = torch.nn.Linear(hidden, hidden)
        self.out = torch.nn.Linear(hidden, 1, bias=False)
        torch.nn.init.zeros_(self.out.weight)
        self.register_buffer("special", torch.tensor(special, dtype=torch.long))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(n,) logits for (n, t) inputs."""
        hidden = self.body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(token_type_ids),
        ).last_hidden_state
        # Written out, because a mask built with `isin` is not exported.
        text = attention_mask.to(hidden.dtype)
        for i in range(self.special.shape[0]):
            text = text * (input_ids != self.special[i]).to(hidden.dtype)
        types = token_type_ids.to(hidden.dtype)
        query, passage = text * (1.0 - types), text * types
        units = hidden / hidden.pow(2).sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        similar = torch.matmul(units, units.transpose(1, 2))
        best = (similar - 2.0 * (1.0 - passage).unsqueeze(1)).amax(dim=2).clamp_min(-1.0)
        maxsim = (best * query).sum(1) / query.sum(1).clamp_min(1.0)
        weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        extra = self.out(torch.tanh(self.dense(pooled))).squeeze(-1)
        logits: torch.Tensor = self.scale * maxsim + extra
        return logits


class PlainModule(torch.nn.Module):
    """Any sequence classifier with one output."""

    def __init__(self, model: torch.nn.Module, *, takes_types: bool) -> None:
        super().__init__()
        self.model = model
        self._takes_types = takes_types

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(n,) logits for (n, t) inputs."""
        more = {"token_type_ids": token_type_ids} if self._takes_types else {}
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits
        result: torch.Tensor = logits.squeeze(-1)
        return result


class HeadModule(torch.nn.Module):
    """The parameters of a `TokenHead`; see there for what they do. It starts as the plain mix.

    Args:
        dimension: of a token's vector.
        parts: `salience`, `matrix` or both.
    """

    salience: torch.nn.Parameter | None
    matrix: torch.nn.Parameter | None

    def __init__(self, dimension: int, parts: Sequence[str]) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(25.0))
        self.mix = torch.nn.Parameter(torch.tensor(0.0))
        for name, shape in (("salience", (dimension,)), ("matrix", (dimension, dimension))):
            start = torch.nn.Parameter(torch.zeros(shape)) if name in parts else None
            self.register_parameter(name, start)

    def forward(
        self,
        query: torch.Tensor,
        tokens: torch.Tensor,
        block_of: torch.Tensor,
        owner: torch.Tensor,
    ) -> torch.Tensor:
        """(n,) scores of n passages whose tokens lie end to end.

        Args:
            query: (q, d) the question's tokens.
            tokens: (t, d) the passages' tokens.
            block_of: (t,) number of the half window that a token lies in.
            owner: (b,) passage of each half window.
        """
        asked = query if self.matrix is None else query + query @ self.matrix
        count = query.shape[0]
        weights = query.new_full((count,), 1.0 / count)
        if self.salience is not None:
            weights = torch.softmax(query @ self.salience, dim=0)
        similar = tokens @ asked.T
        size = int(owner[-1]) + 1
        low = similar.detach().min() - 1.0
        best = low.expand(owner.shape[0], count).scatter_reduce(
            0, block_of[:, None].expand(-1, count), similar, "amax"
        )
        whole = low.expand(size, count).scatter_reduce(
            0, owner[:, None].expand(-1, count), best, "amax"
        )
        inside = owner[1:] == owner[:-1]
        paired = torch.maximum(best[:-1], best[1:])[inside]
        windows = torch.cat([paired, best]) @ weights
        windowed = low.expand(size).scatter_reduce(
            0, torch.cat([owner[:-1][inside], owner]), windows, "amax"
        )
        mix = torch.sigmoid(self.mix)
        return self.scale * (mix * windowed + (1.0 - mix) * (whole @ weights))


class QueryModule(torch.nn.Module):
    """The layers of a sentence encoder that read questions, and the slope of their scores.

    Only the layers and the slope are parameters and state: word embeddings belong to the encoder
    that reads the passages, so a checkpoint does not hold them and no gradient reaches them. It
    is never in training mode, because with dropout a question would be compared with passages
    that were read without.

    Args:
        body: a copy of the encoder's transformer (`TokenEncoder.copied_model`).
    """

    # The slope lies near 25 and the layers' weights near 0.05: one rate cannot suit both.
    paces: ClassVar[dict[str, float]] = {"head.scale": 1e4}

    def __init__(self, body: Any) -> None:
        super().__init__()
        for part in body.embeddings.modules():
            for name, parameter in part.named_parameters(recurse=False):
                # The same memory, but not the encoder's own parameter: that keeps its flags.
                part.register_parameter(
                    name, torch.nn.Parameter(parameter.detach(), requires_grad=False)
                )
        self.encoder = body.encoder
        self.head = HeadModule(int(body.config.hidden_size), ())
        self.head.mix.requires_grad_(False)
        self._body = (body,)  # in a tuple, so that torch does not take it for a part
        self.train(False)

    def train(self, mode: bool = True) -> QueryModule:
        """Does nothing with True; see the class."""
        super().train(False)
        return self

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(n, t, d) unit vectors of the tokens for (n, t) inputs."""
        (body,) = self._body
        hidden = body(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
        ).last_hidden_state
        return torch.nn.functional.normalize(hidden, dim=-1)


class Column(torch.nn.Module):
    """A module's logits as (n, 1), the shape in which cross-encoders are exported."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(n, 1) logits for (n, t) inputs."""
        logits: torch.Tensor = self.inner(input_ids, attention_mask, token_type_ids)
        return logits.unsqueeze(-1)


def joint_module(folder: Path) -> tuple[JointModule, Any]:
    """From a sentence encoder, or from what `PairRanker.save` wrote; with its configuration."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    # Eager attention: the fused kinds are not exported alike by all versions of torch.
    options: dict[str, Any] = {"attn_implementation": "eager"}
    if config.model_type in _POOLED:
        options["add_pooling_layer"] = False
    body = AutoModel.from_config(config, **options)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = tuple(
        sorted(set(tokenizer.post_process(tokenizer.encode("", add_special_tokens=False)).ids))
    )
    module = JointModule(body, hidden=int(config.hidden_size), special=special)
    state = load_file(str(folder / "model.safetensors"))
    if "scale" in state:
        module.load_state_dict(state)
    else:
        _load_body(body, state, folder)
    return module, config


def _load_body(body: torch.nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Take an encoder's weights; a missing one is an error, an unused one (a pooler) is not."""
    prefix = next(
        (p for p in ("bert.", "roberta.", "model.") if any(k.startswith(p) for k in state)), ""
    )
    stripped = {k.removeprefix(prefix): v for k, v in state.items()}
    missing, _ = body.load_state_dict(stripped, strict=False)
    lost = [name for name in missing if not name.endswith("position_ids")]
    if lost:
        raise ConfigError(
            f"{folder / 'model.safetensors'} lacks {lost[0]} and {len(lost) - 1} more: it is not "
            "the encoder that config.json describes"
        )


def plain_module(folder: Path) -> tuple[PlainModule, Any]:
    """A cross-encoder as sentence-transformers saves it; with its configuration."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True)
    if config.num_labels != 1:
        raise ConfigError(
            f"{folder} has {config.num_labels} outputs a pair; a reranker needs exactly one"
        )
    with without_progress_bar():
        model = AutoModelForSequenceClassification.from_pretrained(
            str(folder), local_files_only=True, attn_implementation="eager", dtype=torch.float32
        )
    listed = json.loads((folder / "config.json").read_text("utf-8"))
    takes_types = int(listed.get("type_vocab_size", 0)) > 1
    return PlainModule(model, takes_types=takes_types), config
