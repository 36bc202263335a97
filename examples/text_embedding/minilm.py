"""all-MiniLM-L6-v2, a transformer encoder that turns a text into a vector, in plain PyTorch.

The architecture of BERT (Devlin et al. 2018) with six layers, its outputs averaged over the tokens
and brought to length 1, as sentence-transformers does. Weights: the model's safetensors file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
WORDS, POSITIONS, KINDS = 30522, 512, 2
EPSILON = 1e-12


class Layer(nn.Module):
    """One encoder layer, normalized after each half."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.attended_norm = nn.LayerNorm(WIDTH, EPSILON)
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.outer_norm = nn.LayerNorm(WIDTH, EPSILON)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Return the next hidden state, (batch, tokens, WIDTH)."""
        query, key, value = (
            part(hidden).unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = self.attended(seen.transpose(1, 2).flatten(2))
        hidden = self.attended_norm(hidden + attended)
        computed: Tensor = self.outer_norm(
            hidden + self.outer(nn.functional.gelu(self.inner(hidden)))
        )
        return computed


class MiniLM(nn.Module):
    """Token ids and their mask, int64 (batch, tokens), to embeddings of length 1, (batch, 384)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.kinds = nn.Embedding(KINDS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the embeddings."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.words(input_ids) + self.positions(places) + self.kinds.weight[0]
        hidden = self.norm(hidden)
        real = attention_mask.to(hidden.dtype)
        # Far below any score: what is padded gets no attention.
        mask = ((1 - real) * -10_000.0)[:, None, None, :]
        for layer in self.layers:
            hidden = layer(hidden, mask)
        weights = real[:, :, None]
        mean = (hidden * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(mean, dim=1)


def load(path: Path) -> MiniLM:
    """Return the network with the weights of a safetensors file."""
    model = MiniLM()
    model.load_state_dict(
        {_name(key): value for key, value in load_file(path).items() if _used(key)}
    )
    return model.eval()


_PARTS = {
    "embeddings.word_embeddings": "words",
    "embeddings.position_embeddings": "positions",
    "embeddings.token_type_embeddings": "kinds",
    "embeddings.LayerNorm": "norm",
    "encoder.layer": "layers",
    "attention.self.": "",
    "attention.output.dense": "attended",
    "attention.output.LayerNorm": "attended_norm",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "outer_norm",
}


def _name(key: str) -> str:
    for theirs, ours in _PARTS.items():
        key = key.replace(theirs, ours)
    return key


def _used(key: str) -> bool:
    return not key.startswith("pooler.") and key != "embeddings.position_ids"
