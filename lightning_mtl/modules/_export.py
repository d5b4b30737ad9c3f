"""A trained model as a plain module, a `torch.export` program, or ONNX."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from ..encoders import Encoder
from ..heads import ByName, Head, through
from ..inputs import WORDS
from ..task import Task, in_precision, precision_of

if TYPE_CHECKING:
    from ._multi_task import MultiTaskModule

Format = Literal["module", "torch", "onnx"]
FORMATS = ("module", "torch", "onnx")


class Exported(nn.Module):
    """An encoder and the heads of some tasks, without Lightning: all of them in one pass of the encoder.

    It takes the encoder's columns as a dictionary, and returns for each task the probabilities of classes, or values.

    Args:
        encoder: The shared part.
        tasks: Tasks with their heads.
        hidden: Columns that a batch may hold and the encoder does not read.
    """

    def __init__(self, encoder: Encoder, tasks: Sequence[Task], hidden: Iterable[str] = ()) -> None:
        super().__init__()
        self.hidden = frozenset(hidden)
        self.encoder = copy.deepcopy(encoder)
        self.heads = ByName({task.name: copy.deepcopy(task.known_head()) for task in tasks})
        self.keys = {task.name: task.key for task in tasks}
        self.eval()

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predict for a batch.

        Args:
            inputs: The encoder's columns, e.g. {"input_ids": [batch, length], "attention_mask": [batch, length]}.

        Returns:
            For each task [batch], [batch, classes], [batch, outputs], of positions [batch, length, tags], or of words that words depend on [batch, length, 1 + length].
        """
        columns = {name: column for name, column in inputs.items() if name not in self.hidden}
        if any(column.is_floating_point() for column in columns.values()):
            columns = in_precision(columns, precision_of(self.encoder))
        heads: Any = self.heads._modules
        outputs = self.outputs(columns, inputs.get(WORDS))
        return {name: heads[self.keys[name]].predict(output) for name, output in outputs.items()}

    def outputs(self, inputs: dict[str, Tensor], words: Tensor | None = None) -> dict[str, Tensor]:
        """Return the output of each task's head: logits, or scaled values.

        Args:
            inputs: The encoder's columns and no others.
            words: The number of the word that starts at each position, -1 elsewhere.
        """
        features, heads = self.encoder(inputs, list(self.keys)), self.heads._modules
        return {name: through(cast(Head, heads[key]), features[name], words) for name, key in self.keys.items()}


def traced(module: Exported, example: Mapping[str, Tensor], format: Format) -> Any:
    """Trace an exported module with a batch of two rows or more; the numbers of rows and positions stay dynamic.

    Args:
        module: The module.
        example: The encoder's columns.
        format: "torch" returns a `torch.export.ExportedProgram`, "onnx" a `torch.onnx.ONNXProgram`; both have `save(path)`.

    Raises:
        ModuleNotFoundError: `onnx` or `onnxscript` is not installed.
        ValueError: The encoder cannot be traced.
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    batch = {name: column.to(device) for name, column in example.items()}
    shapes = {name: _free(column) for name, column in batch.items()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's own deprecation warnings
        try:
            program = torch.export.export(module, (batch,), dynamic_shapes=(shapes,))
        except Exception as error:  # an encoder that cannot be traced may raise anything
            raise ValueError(
                f"`format` {format!r} needs an encoder that `torch.export` can trace, got {type(module.encoder).__name__} with "
                f"{type(error).__name__}: {str(error)[:300]}. `Recurrent` cannot be; use format='module', or another encoder."
            ) from error
        if format == "torch":
            return program
        try:
            import onnxscript  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("ONNX needs onnx and onnxscript: pip install 'lightning-mtl[onnx]'") from error
        return torch.onnx.export(
            program, (batch,), input_names=list(batch), output_names=list(module.heads), verbose=False, dynamo=True
        )


def _free(column: Tensor) -> dict[int, Any]:
    axes: dict[int, Any] = {0: torch.export.Dim.AUTO}
    if column.ndim == 2 and not column.is_floating_point():  # positions of texts
        axes[1] = torch.export.Dim.AUTO
    return axes


def example_for(module: MultiTaskModule, tasks: Sequence[int]) -> dict[str, Tensor]:
    """Make example columns of the encoder for these tasks, where their source defines the columns.

    Raises:
        ValueError: It does not, or the tasks read several sources.
    """
    read = {module.tasks[i].resolve(module.inputs) for i in tasks} if module.inputs else set()
    columns = module.inputs[next(iter(read))].example() if len(read) == 1 else None
    if columns is None:
        raise ValueError(
            f"`example` must be given to trace tasks of {'the sources ' + str(sorted(read)) if read else 'unknown inputs'}, got "
            "none. Give the encoder's columns of two rows: example={'x': torch.zeros(2, 5)}; export each source by itself."
        )
    points = any(module.tasks[i].known_head().points for i in tasks)
    hidden = module.hidden_columns(tasks) - ({WORDS} if points else set())
    return {name: column for name, column in columns.items() if name not in hidden}


def export(
    module: MultiTaskModule,
    tasks: Sequence[str] | None = None,
    *,
    format: Format = "module",
    example: Mapping[str, Tensor] | None = None,
) -> Any:
    """Make a model for serving: copies of the encoder and heads, in evaluation mode, with one forward pass for all tasks.

    It takes the encoder's columns as one dictionary, {column: tensor}, and returns {task: probabilities or values}. Rows
    become these columns by `module.inputs[source]`; the numbers of rows, and of positions of a text, stay dynamic.

    Args:
        module: The module.
        tasks: Names of tasks that read one source. Default: all of them.
        format: "module" returns an `nn.Module`, "torch" a `torch.export.ExportedProgram`, "onnx" a
            `torch.onnx.ONNXProgram` (extra `onnx`); the latter two have `save(path)`.
        example: The columns of two rows or more, to trace with. Default: generated, where the source defines its columns.

    Raises:
        ValueError: There is no such task or format, or an example is needed and not given.
    """
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {list(FORMATS)}, got {format!r}.")
    wanted = sorted(module.numbers_of(tasks))
    exported = module.exported(wanted)
    if format == "module":
        return exported
    return traced(exported, example_for(module, wanted) if example is None else example, format)
