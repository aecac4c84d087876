"""The command line as a user meets it: real processes, real (tiny) models."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from checkpoints import write_adapter, write_checkpoint

from qsift import Embedder, Reranker
from qsift.convert import QUANTS

QSIFT = (sys.executable, "-m", "qsift")
TEXTS = ["the first text", "日本語のテキスト", "", "three"]


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


def qsift(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
    done = subprocess.run(
        [*QSIFT, *map(str, arguments)], input=stdin, capture_output=True, env=os.environ | environment, timeout=120
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def vectors(out: str) -> np.ndarray:
    return np.array([json.loads(line)["vector"] for line in out.splitlines()], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return write_checkpoint(folder / "tiny-embed", task="embed")


@pytest.fixture(scope="module")
def embedding(folder: Path, checkpoint: Path) -> Path:
    done = qsift("convert", checkpoint, folder / "embed.gguf", "--quant", "f16")
    assert done == Done(0, f"{folder / 'embed.gguf'}\n", "")
    return folder / "embed.gguf"


@pytest.fixture(scope="module")
def reranking(folder: Path) -> Path:
    checkpoint = write_checkpoint(folder / "tiny-rerank", task="rerank", evidence=False)
    done = qsift("convert", checkpoint, folder / "rerank.gguf", "--quant", "f16", "--task", "rerank")
    assert done.code == 0, done.err
    return folder / "rerank.gguf"


@pytest.fixture(scope="module")
def expected(embedding: Path) -> np.ndarray:
    with Embedder.load(embedding) as embedder:
        return embedder.encode_document(TEXTS)


# Help, version, wrong usage


def test_help_lists_every_command_without_loading_llama_cpp():
    code = (
        "import sys; from qsift.cli import cli; from qsift.cli.console import run\n"
        "run(cli, ['--help']); sys.exit('llama_cpp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("convert", "embed", "rerank", "info", "doctor"))


def test_the_version_is_that_of_the_package():
    import qsift as package

    assert qsift("--version").out == f"qsift, version {package.__version__}\n"


def test_help_names_every_quant():
    out = qsift("convert", "--help").out
    assert all(quant in out for quant in QUANTS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["embed"],
        ["embed", "m.gguf"],
        ["embed", "m.gguf", "a", "--format", "xml"],
        ["embed", "m.gguf", "a", "--instruction", "documents have none"],
        ["embed", "m.gguf", "a", "--query", "--prompt-name", "web"],
        ["embed", "m.gguf", "a", "--prompt", "x", "--prompt-name", "web"],
        ["embed", "m.gguf", "a", "--with-text", "--format", "npy", "-o", "x.npy"],
        ["embed", "m.gguf", "-", "--file", "-"],
        ["embed", "m.gguf", "--file", "no-such-file.txt"],
        ["rerank", "m.gguf", "query", "a", "--top-k", "0"],
    ],
)
def test_wrong_usage_exits_with_2_and_prints_nothing_on_stdout(arguments: list[str]):
    done = qsift(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


# embed


def test_json_lines_carry_the_vectors_of_the_api_to_the_last_bit(embedding: Path, expected: np.ndarray):
    done = qsift("embed", embedding, *TEXTS)
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line)["index"] for line in done.out.splitlines()] == [0, 1, 2, 3]
    np.testing.assert_array_equal(vectors(done.out), expected)


def test_with_text_repeats_each_text(embedding: Path):
    lines = qsift("embed", embedding, *TEXTS, "--with-text").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == TEXTS


def test_options_mean_what_they_mean_in_the_api(embedding: Path):
    options = ("--query", "--instruction", "Find it", "--dim", 32, "--precision", "int8")
    done = qsift("embed", embedding, *TEXTS, *options)
    with Embedder.load(embedding) as embedder:
        rows = embedder.encode_query(TEXTS, instruction="Find it", truncate_dim=32, precision="int8")
    np.testing.assert_array_equal(vectors(done.out), rows)


def test_prompts_are_the_models_by_name_or_any_text(fine_tune: Path):
    with Embedder.load(fine_tune) as embedder:
        expected = {
            (): embedder.encode_document(["a"]),
            ("--query",): embedder.encode_query(["a"]),
            ("--prompt-name", "web"): embedder.encode(["a"], prompt_name="web"),
            ("--prompt-name", "web", "--instruction", "Find"): embedder.encode(
                ["a"], prompt_name="web", instruction="Find"
            ),
            ("--prompt", "any: "): embedder.encode(["a"], prompt="any: "),
            ("--prompt", ""): embedder.encode(["a"], prompt=""),
        }
    for options, rows in expected.items():
        np.testing.assert_array_equal(vectors(qsift("embed", fine_tune, "a", *options).out), rows, str(options))
    done = qsift("embed", fine_tune, "a", "--query", "--instruction", "Find")
    assert (done.code, done.out) == (2, "") and "'query: ', has no place for an instruction" in done.err
    assert "this model's are 'query', 'document', 'web'" in qsift("embed", fine_tune, "a", "--prompt-name", "x").err
    out = qsift("info", fine_tune).out
    assert re.search(r"^prompt 'web' +'Instruct: Search\\nQuery: '$", out, re.MULTILINE)
    assert re.search("^default prompt +web$", out, re.MULTILINE)
    prompts = json.loads(qsift("info", fine_tune, "--json").out)["manifest"]["prompts"]
    assert prompts["texts"]["document"] == "passage: " and prompts["default"] == "web"


def test_queries_carry_the_default_instruction_and_raw_rows_keep_their_length(embedding: Path):
    with Embedder.load(embedding) as embedder:
        query = embedder.encode_query(["a"])
        raw = embedder.encode_document(["a"], normalize_embeddings=False)
    np.testing.assert_array_equal(vectors(qsift("embed", embedding, "a", "--query").out), query)
    np.testing.assert_array_equal(vectors(qsift("embed", embedding, "a", "--raw").out), raw)
    np.testing.assert_array_equal(vectors(qsift("embed", embedding, "a", "--no-normalize").out), raw)


@pytest.mark.parametrize("options", [(), ("--precision", "ubinary", "--dim", "40")])
def test_an_npy_file_is_the_matrix_of_the_api(embedding: Path, tmp_path: Path, options: tuple[str, ...]):
    source, target = tmp_path / "texts.txt", tmp_path / "vectors.npy"
    source.write_text("\n".join(TEXTS), "utf-8")
    done = qsift("embed", embedding, "--file", source, "--output", target, *options)
    assert done == Done(0, "", "")
    with Embedder.load(embedding) as embedder:
        rows = embedder.encode_document(
            TEXTS, precision="ubinary" if options else "float32", truncate_dim=40 if options else None
        )
    loaded = np.load(target)
    assert loaded.dtype == rows.dtype
    np.testing.assert_array_equal(loaded, rows)


def test_npy_goes_into_a_pipe(embedding: Path, expected: np.ndarray):
    done = subprocess.run([*QSIFT, "embed", embedding, *TEXTS, "--format", "npy"], capture_output=True)
    np.testing.assert_array_equal(np.load(io.BytesIO(done.stdout)), expected)


def test_no_texts_give_an_empty_matrix(embedding: Path, tmp_path: Path):
    assert qsift("embed", embedding, "-").out == ""
    assert qsift("embed", embedding, "-", "--output", tmp_path / "none.npy").code == 0
    assert np.load(tmp_path / "none.npy").shape == (0, 64)


def test_a_stream_longer_than_a_window_keeps_its_order(embedding: Path, tmp_path: Path):
    texts = [f"text {i % 700}" for i in range(2500)]
    done = qsift("embed", embedding, "-", "-o", tmp_path / "many.npy", stdin="\n".join(texts).encode())
    assert done.code == 0, done.err
    many = np.load(tmp_path / "many.npy")
    with Embedder.load(embedding) as embedder:
        some = embedder.encode_document([texts[0], texts[1500], texts[2499]])
    assert many.shape == (2500, 64)
    np.testing.assert_allclose(many[[0, 1500, 2499]], some, atol=2e-3)


def test_the_table_has_a_line_for_each_text_and_no_control_characters(embedding: Path):
    done = qsift("embed", embedding, "a\nb\x1b[31m", "x" * 500, "--format", "table", COLUMNS="90")
    lines = done.out.splitlines()
    assert len(lines) == 2 and "\x1b" not in done.out
    assert len(lines[1]) == 90 and lines[1].endswith("x…")


# Where texts come from


def test_a_line_of_a_file_is_a_text_and_an_empty_line_too(embedding: Path, tmp_path: Path):
    source = tmp_path / "lines.txt"
    source.write_bytes(b"\xef\xbb\xbfone\r\ntwo\n\nsplit\xe2\x80\xa8here\x0cnot\nlast")
    lines = qsift("embed", embedding, "zero", "--file", source, "--with-text").out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["zero", "one", "two", "", "split\u2028here\x0cnot", "last"]


def test_a_whole_file_is_one_text(embedding: Path, tmp_path: Path):
    source = tmp_path / "whole.txt"
    source.write_bytes(b"one\r\ntwo\n")
    done = qsift("embed", embedding, "--whole-files", "-f", source, "-f", "-", "--with-text", stdin=b"three\nfour")
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["one\r\ntwo\n", "three\nfour"]


def test_json_lines_give_the_field_that_is_named(embedding: Path, tmp_path: Path):
    source = tmp_path / "texts.jsonl"
    source.write_text('{"body": "eins", "id": 7}\n\n{"body": "zw\\u00f6lf"}\n', "utf-8")
    done = qsift("embed", embedding, "--jsonl", source, "--field", "body", "--with-text")
    assert [json.loads(line)["text"] for line in done.out.splitlines()] == ["eins", "zwölf"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{broken", "this is not JSON"),
        (b'["a"]', "of type list"),
        (b'{"body": "a"}', "there is no field 'text'. Its fields are: 'body'"),
        (b'{"text": 3}', "the field 'text' is of type int"),
        (b'{"text": null}', "the field 'text' is of type NoneType"),
        (b'{"text": "\\ud800"}', "lone surrogate U+D800"),
        (b"[" * 100_000, "this is not JSON"),
    ],
)
def test_a_bad_json_line_is_named_by_file_and_number(embedding: Path, tmp_path: Path, line: bytes, complaint: str):
    source = tmp_path / "bad.jsonl"
    source.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    done = qsift("embed", embedding, "--jsonl", source)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"Error: {str(source)!r}, line 3: ") and complaint in done.err


@pytest.mark.parametrize("option", ["--file", "--jsonl"])
@pytest.mark.parametrize("more", [(), ("--whole-files",)])
def test_bytes_that_are_not_utf8_are_named_by_line_and_offset(
    embedding: Path, tmp_path: Path, option: str, more: tuple[str, ...]
):
    source = tmp_path / "latin1.txt"
    source.write_bytes(b'{"text": "fine"}\ncaf\xe9\n')
    done = qsift("embed", embedding, option, source, *more)
    assert (done.code, done.out) == (1, "")
    assert f"{str(source)!r} is not UTF-8: line 2 holds the byte 0xe9 at offset 20." in done.err


def test_an_argument_that_is_also_a_file_gets_a_note(embedding: Path, checkpoint: Path):
    path = checkpoint / "config.json"
    done = qsift("embed", embedding, path)
    assert done.code == 0 and len(done.out.splitlines()) == 1
    assert done.err == f"Note: {str(path)!r} is taken as a text. To read the file of this name, pass it with --file.\n"
    assert qsift("embed", embedding, path, "--quiet").err == ""


def test_a_single_argument_that_looks_like_a_file_that_is_not_there_gets_a_note(embedding: Path):
    for argument in ("notes.txt", "Notes.MD", "./notes", "sub/notes"):
        done = qsift("embed", embedding, argument)
        note = f"Note: there is no file {argument!r}, so it is taken as a text. Files are read with --file PATH.\n"
        assert (done.code, len(done.out.splitlines()), done.err) == (0, 1, note)
    assert qsift("embed", embedding, "notes.txt", "--quiet").err == ""
    assert qsift("embed", embedding, "notes.txt", "another text").err == ""
    for text in ("one or two/three", "etc.", "https://example.org/notes.txt", "v1.5", "nul\\0" * 100):
        assert qsift("embed", embedding, text).err == ""


# rerank


def test_rerank_prints_the_hits_of_the_api(reranking: Path, tmp_path: Path):
    source = tmp_path / "documents.txt"
    source.write_text("\n".join(TEXTS), "utf-8")
    options = ("--top-k", 3, "--instruction", "Find it", "--template", "evaluation")
    done = qsift("rerank", reranking, "the query", "--file", source, *options, "--format", "jsonl")
    with Reranker.load(reranking, template="evaluation") as reranker:
        hits = reranker.rank("the query", TEXTS, top_k=3, instruction="Find it")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"rank": rank, "corpus_id": hit.corpus_id, "score": hit.score, "text": hit.text}
        for rank, hit in enumerate(hits, 1)
    ]


def test_raw_scores_are_differences_of_logits(reranking: Path):
    done = qsift("rerank", reranking, "query", "a", "--raw-scores", "--format", "jsonl")
    with Reranker.load(reranking) as reranker:
        assert json.loads(done.out)["score"] == pytest.approx(reranker.predict(("query", "a"), raw_scores=True))


def test_the_table_of_hits_fits_the_terminal(reranking: Path):
    done = qsift("rerank", reranking, "query", "wide " * 100, "漢字" * 100, COLUMNS="60")
    head, *lines = done.out.splitlines()
    assert head.split() == ["rank", "score", "id", "text"]
    assert len(lines) == 2 and all(line.endswith("…") and len(line) <= 60 for line in lines)


# info and doctor


def test_info_says_what_the_file_says(embedding: Path, reranking: Path):
    facts = json.loads(qsift("info", embedding, "--json").out)
    assert (facts["task"], facts["quant"], facts["width"]) == ("embed", "f16", 64)
    assert facts["manifest"]["min_dim"] == 32
    table = qsift("info", reranking).out
    assert "rerank" in table and "yes, no" in table and "card" in table


def test_info_compares_a_file_with_a_checkpoint(embedding: Path, checkpoint: Path, reranking: Path, tmp_path: Path):
    assert qsift("info", embedding, "--against", checkpoint).out.endswith(
        f"Compared with {checkpoint}: no difference\n"
    )
    other = qsift("info", reranking, "--against", checkpoint, "--json")
    assert other.code == 1
    [difference] = [one for one in json.loads(other.out)["against"]["differences"] if one["changes_numbers"]]
    assert difference["sentence"] == "It was made for the task 'rerank'; the model's is 'embed'."
    empty = qsift("info", embedding, "--against", tmp_path)
    assert empty.code == 1 and "It cannot be compared with" in empty.err and "config.json is missing" in empty.err


def test_doctor_shows_build_threads_self_check_and_cache_folder(tmp_path: Path):
    table = qsift("doctor", QSIFT_CACHE=str(tmp_path))
    facts = json.loads(qsift("doctor", "--json", QSIFT_CACHE=str(tmp_path)).out)
    assert table.code == 0
    assert facts["cache_folder"] == str(tmp_path) and str(tmp_path) in table.out
    assert facts["threads"] >= 1 and facts["llama_cpp_python"] in table.out
    assert all(advice["reason"] in table.out for advice in facts["advice"])


def test_doctor_again_runs_the_self_check_in_a_child(tmp_path: Path):
    facts = json.loads(qsift("doctor", "--again", "--json", QSIFT_CACHE=str(tmp_path)).out)
    assert "self-check" in facts["self_check"]["reason"]
    assert list(tmp_path.glob("selfcheck-*.json"))


# convert


def test_convert_prints_every_path_and_refuses_to_replace_without_force(checkpoint: Path, tmp_path: Path):
    done = qsift("convert", checkpoint, tmp_path, "--quant", "f16, bf16")
    paths = done.out.splitlines()
    assert done.code == 0 and len(paths) == 2 and all(Path(path).is_file() for path in paths)
    refused = qsift("convert", checkpoint, tmp_path, "--quant", "f16")
    assert (refused.code, refused.out) == (1, "") and "--force" in refused.err
    assert qsift("convert", checkpoint, tmp_path, "--quant", "f16", "--force").code == 0


def test_an_adapter_is_converted_with_its_base_and_told_about_it_without(checkpoint: Path, tmp_path: Path):
    adapter = write_adapter(tmp_path / "tuned", base_model_name_or_path=str(checkpoint))
    done = qsift("convert", adapter, tmp_path, "--base", checkpoint)
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'tuned-Q8_0.gguf'}\n", "")
    for arguments, words in (
        ((adapter,), "Convert it with its base model"),
        ((checkpoint, "--base", checkpoint), "Convert it without --base"),
        ((adapter, "--base", adapter), "is an adapter itself"),
    ):
        refused = qsift("convert", *arguments)
        assert (refused.code, refused.out) == (1, "") and words in refused.err


def test_a_quant_that_does_not_exist_is_wrong_usage(checkpoint: Path, tmp_path: Path):
    done = qsift("convert", checkpoint, tmp_path, "--quant", "q9")
    assert (done.code, done.out) == (2, "") and "q9" in done.err and "q8_0" in done.err


# Errors, warnings, quiet


def test_errors_of_the_model_exit_with_1_in_the_words_of_the_command_line(embedding: Path, reranking: Path):
    for arguments, sentence in (
        (("embed", "missing.gguf", "a"), "no such file"),
        (("info", "/nope"), "'/nope': There is no such file or folder"),
        (("embed", "./nope:q4_k_m", "a"), "'./nope:q4_k_m': There is no such file or folder"),
        (("embed", "qwen3-embedding-0.6b", "a"), "Then run: qsift pull qwen3-embedding-0.6b:q8_0"),
        (("embed", "qwen3-reranker-0.6b", "a"), "Use: qsift rerank"),
        (("embed", reranking, "a"), "Use: qsift rerank"),
        (("rerank", embedding, "q", "a"), "Use: qsift embed"),
        (("embed", embedding, "a long text", "--max-tokens", 3, "--no-truncate"), "pass --truncate"),
    ):
        done = qsift(*arguments)
        assert (done.code, done.out) == (1, ""), done
        assert done.err.startswith("Error: ") and sentence in done.err


def test_values_that_the_model_does_not_take_exit_with_2(embedding: Path):
    for option, value in (("--dim", 8), ("--dim", 65), ("--max-tokens", 0)):
        done = qsift("embed", embedding, "a", option, value)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"Error: {option} is {value}")


def test_a_cut_text_is_one_warning_on_stderr_and_quiet_silences_it(embedding: Path):
    done = qsift("embed", embedding, "a long text", "--max-tokens", 3)
    assert done.code == 0 and len(vectors(done.out)) == 1
    (line,) = done.err.splitlines()
    assert line.startswith("Warning: Text 0 ") and "--no-truncate" in line
    quiet = qsift("embed", embedding, "a long text", "--max-tokens", 3, "--quiet")
    assert quiet == Done(0, done.out, "")


def test_progress_is_drawn_only_when_asked_where_stderr_is_no_terminal(embedding: Path):
    for options, drawn in (((), False), (("--progress",), True), (("--progress", "--quiet"), False)):
        done = qsift("embed", embedding, "-", *options, stdin=b"one\ntwo\n")
        assert done.code == 0 and len(vectors(done.out)) == 2
        assert (done.err != "") == drawn


def test_an_output_that_cannot_be_written_is_named(embedding: Path, tmp_path: Path):
    target = tmp_path / "no-such-folder" / "v.jsonl"
    done = qsift("embed", embedding, "a", "--output", target)
    assert done.code == 1 and f"Error: {str(target)!r} cannot be written" in done.err


def test_a_failure_leaves_the_old_output_alone(embedding: Path, tmp_path: Path):
    target = tmp_path / "v.npy"
    target.write_bytes(b"old")
    done = qsift("embed", embedding, "-", "-o", target, stdin=b"fine\n" * 1500 + b"\xff")
    assert done.code == 1
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_results_are_utf8_in_any_locale(embedding: Path):
    done = qsift("embed", embedding, "-", "--with-text", stdin="日本".encode(), LC_ALL="C", PYTHONIOENCODING="latin-1")
    assert json.loads(done.out)["text"] == "日本"


# Signals, pipes and terminals


def start(*arguments: object, stdin: Path) -> subprocess.Popen[bytes]:
    with stdin.open("rb") as file:
        return subprocess.Popen(
            [*QSIFT, *map(str, arguments)], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )


@pytest.fixture(scope="module")
def endless(folder: Path) -> Path:
    path = folder / "endless.txt"
    path.write_text("".join(f"text number {i}\n" for i in range(200_000)))
    return path


def finish(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


@pytest.mark.posix
def test_ctrl_c_ends_an_embedding_with_130_and_no_traceback(embedding: Path, endless: Path):
    process = start("embed", embedding, "-", stdin=endless)
    assert process.stdout is not None and process.stdout.readline().startswith(b'{"index": 0')
    process.send_signal(signal.SIGINT)
    code, err = finish(process)
    assert (code, err.strip()) == (130, "")


@pytest.mark.posix
def test_ctrl_c_leaves_no_half_output(embedding: Path, endless: Path, tmp_path: Path):
    process = start("embed", embedding, "-", "-o", tmp_path / "v.npy", "--progress", stdin=endless)
    assert process.stderr is not None
    while not re.search(rb"\b[1-9]\d* texts", process.stderr.read1(4096)):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, err = finish(process)
    assert code == 130 and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
@pytest.mark.parametrize("load", ["Embedder.load(path)", "sys.exit(console.run(command, []))"])
def test_ctrl_c_while_llama_cpp_logs_is_neither_lost_nor_a_second_traceback(embedding: Path, load: str):
    # While a model loads, llama.cpp's callbacks are the only Python that runs, and ctypes would
    # print an exception raised there and go on.
    code = f"""
import logging, signal, sys, time, click
from qsift import Embedder
from qsift.cli import console
path = {str(embedding)!r}
class Pest(logging.Handler):
    def emit(self, record):
        signal.raise_signal(signal.SIGINT)
@click.command()
def command():
    Embedder.load(path)
    time.sleep(30)
logger = logging.getLogger("qsift.llama")
logger.setLevel(logging.DEBUG)
logger.addHandler(Pest())
try:
    {load}
    time.sleep(30)
except KeyboardInterrupt:
    sys.exit(130)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (130, "")


@pytest.mark.posix
def test_a_load_that_is_interrupted_can_be_repeated(embedding: Path):
    code = f"""
import signal
from qsift import Embedder
from qsift.engine.llama import library
lib = library()
plain = lib.llama_model_load_from_file
def load_in_a_hurry(*arguments):
    signal.raise_signal(signal.SIGINT)
    return plain(*arguments)
lib.llama_model_load_from_file = load_in_a_hurry
try:
    Embedder.load({str(embedding)!r})
except KeyboardInterrupt:
    lib.llama_model_load_from_file = plain
    with Embedder.load({str(embedding)!r}) as embedder:
        print(embedder.encode_document("a").shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("(64,)") and not done.stderr, done.stderr


@pytest.mark.posix
def test_a_reader_that_goes_away_is_no_error(embedding: Path, endless: Path):
    process = start("embed", embedding, "-", stdin=endless)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(timeout=60)) == (b"", 0)


def in_terminal(arguments: Sequence[object], *, stdout: bool) -> tuple[int, bytes]:
    """Runs a command whose stderr, and stdout if wanted, is a terminal; returns what the terminal showed."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*QSIFT, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # Linux's way of saying that the other side is closed
        pass
    os.close(ours)
    return process.wait(timeout=60), shown


@pytest.mark.posix
def test_npy_is_not_written_to_a_terminal(embedding: Path):
    code, shown = in_terminal(["embed", embedding, "a", "--format", "npy"], stdout=True)
    assert code == 2 and b"--output" in shown and b"NUMPY" not in shown


@pytest.mark.posix
def test_a_terminal_shows_progress_where_no_results_are_shown(embedding: Path, tmp_path: Path):
    source = tmp_path / "texts.txt"
    source.write_text("one\ntwo\n")
    command = ["embed", embedding, "--file", source]
    assert b"2 texts" in in_terminal(command, stdout=False)[1]
    assert b"2 texts" not in in_terminal(command, stdout=True)[1]
    assert in_terminal([*command, "--quiet"], stdout=False) == (0, b"")
