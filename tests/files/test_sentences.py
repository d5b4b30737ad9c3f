"""Files of sentences: nothing is dropped or shifted in silence."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from lightning_mtl import Arcs, HierarchicalModule, MultiTaskDataModule, Source, StackedRecurrent, Task
from lightning_mtl.files import read_rows, read_sentences
from tests.cases import over
from tests.models import quiet

CONLLU = """# text = Ela foi na rua.
1\tEla\tela\tPRON\t_\tPerson=3\t2\tnsubj\t_\t_
2\tfoi\tir\tVERB\t_\t_\t0\troot\t_\t_
3-4\tna\t_\t_\t_\t_\t_\t_\t_\t_
3\tem\tem\tADP\t_\t_\t5\tcase\t_\t_
4\ta\to\tDET\t_\t_\t5\tdet\t_\t_
4.1\tnula\t_\tX\t_\t_\t_\t_\t_\t_
5\trua\trua\tNOUN\t_\t_\t2\tobl\t_\t_

# newpar
1\t_\t_\tSYM\t_\t_\t_\t_\t_\t_
"""


def written(folder: Path, content: str | bytes, name: str = "my.conllu") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("content", [CONLLU, CONLLU.replace("\n", "\r\n"), "\ufeff" + CONLLU, CONLLU.rstrip("\n")])
@pytest.mark.parametrize("read", [read_sentences, read_rows])
def test_conllu(content: str, read: Any, tmp_path: Path) -> None:
    assert read(written(tmp_path, content))[:] == {
        "form": [["Ela", "foi", "em", "a", "rua"], ["_"]],
        "lemma": [["ela", "ir", "em", "o", "rua"], [None]],
        "upos": [["PRON", "VERB", "ADP", "DET", "NOUN"], ["SYM"]],
        "feats": [["Person=3", "_", "_", "_", "_"], ["_"]],
        "head": [[2, 0, 5, 5, 2], [None]],
        "deprel": [["nsubj", "root", "case", "det", "obl"], [None]],
    }


@over("seed", range(5))
@pytest.mark.parametrize("separator", ["\t", " "])
def test_columns_that_were_written_are_read(seed: int, separator: str, tmp_path: Path) -> None:
    draw = random.Random(seed)
    sentences = [[(draw.choice("ab#1"), draw.choice("OX")) for _ in range(draw.randint(1, 5))] for _ in range(8)]
    text = "\n\n".join("\n".join(separator.join(word) for word in sentence) for sentence in sentences)
    found = read_sentences(written(tmp_path, text, "my.txt"), ["word", "kind"])[:]
    assert [list(zip(*pair, strict=True)) for pair in zip(found["word"], found["kind"], strict=True)] == sentences


def test_a_lone_tab_parts_sentences_and_an_empty_field_is_no_label(tmp_path: Path) -> None:
    path = written(tmp_path, "Ada\tB-PER\nslept\t\n\t\n\n\t\nWhy\tO\n", "my.txt")
    assert read_sentences(path)[:] == {"words": [["Ada", "slept"], ["Why"]], "tags": [["B-PER", None], ["O"]]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("# id 5 domain=en\nAda _ _ B-PER\nslept _ _ O\n\n# id 6\nWhy _ _ O\n", [["Ada", "slept"], ["Why"]]),
        ("# id 5\tdomain=en\nAda _ _ B-PER\n\nWhy _ _ O\n", [["Ada"], ["Why"]]),
        ("# newdoc\n\n# text = Ada # slept\nAda\ta\tb\tO\n#\ta\tb\tO\n", [["Ada", "#"]]),
        ("-DOCSTART- -X- -X- O\n\nAda NNP B-NP O\n\n-DOCSTART- -X- -X- O\nWhy WRB O O\n", [["Ada"], ["Why"]]),
        ("# a b O\nAda a b O\n", [["#", "Ada"]]),
        ("# a b B-MISC\nAda a b O\n", [["#", "Ada"]]),
    ],
)
def test_comments_and_marks_of_documents_are_no_words(content: str, words: list[list[str]], tmp_path: Path) -> None:
    assert read_sentences(written(tmp_path, content, "my.txt"), ["word", "x", "y", "tag"])["word"][:] == words


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (CONLLU.replace("\tdet\t", "\t"), r"line 6 \(9 fields\)"),
        (CONLLU.replace("4\ta", "6\ta"), r"line 6 \(word '6' where 4 was due\)"),
        (CONLLU.replace("2\tobl", "7\tobl"), r"line 8 \(head '7' of word 5 of 5\)"),
        (CONLLU.replace("2\tobl", "5\tobl"), r"line 8 \(head '5' of word 5 of 5\)"),
        (CONLLU.replace("2\tobl", "x\tobl"), r"line 8 \(head 'x' of word 5 of 5\)"),
        (CONLLU.encode("utf-16"), "bytes that are not UTF-8"),
        (
            CONLLU.replace("\t", " "),
            r"line 2 \(1 field\), line 3 .* and 3 more in '.*my\.conllu'\. Correct these lines\.",
        ),
        ("# nothing\n\n", "`path` must hold rows, got none"),
        ("", "`path` must hold rows, got none"),
    ],
)
def test_broken_lines_of_conllu_are_named(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        read_sentences(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("Ada\tX\nslept\n", r"2 fields \(words, tags\) .*got line 2 \(1 field\)"),
        ("Ada\tX\tY\n", r"line 1 \(3 fields\)"),
        ("Ada\tX\n\tO\n", r"line 2 \(no word beside \['O'\]\)"),
        (b"Ada\tX\n\xff\tO\n", r"line 2 \(bytes that are not UTF-8\)"),
    ],
)
def test_broken_lines_of_columns_are_named(content: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says):
        read_sentences(written(tmp_path, content, "my.txt"))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"`path` must be a file that exists, got 'nothing\.conllu'"):
        read_sentences("nothing.conllu")


def test_a_source_reads_conllu(tmp_path: Path) -> None:
    path = written(tmp_path, CONLLU + "\n" + CONLLU)
    tasks = [Task("upos", level=1), Task("head", head=Arcs(4))]
    module = HierarchicalModule(tasks, StackedRecurrent(8, 2, embedding=4, buckets=50))
    quiet().fit(module, MultiTaskDataModule({"words": Source(str(path), words="form")}, batch_size=2, summary=False))
    assert len(module.predict({"form": ["Ela", "foi"]})["head"]["heads"]) == 2
