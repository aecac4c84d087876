"""The shape of a SentenceTransformer, held against the real one's signature and against the library."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from qsift import (
    Embedder,
    InputTooLongError,
    community_detection,
    paraphrase_mining,
    semantic_search,
)
from qsift.integrations.sentence_transformers import QsiftSentenceTransformer

TEXTS = ["Bake the bread for an hour.", "A program that shows pictures.", "一个查看图片的程序"]


@pytest.fixture(scope="module")
def model() -> QsiftSentenceTransformer:
    return QsiftSentenceTransformer("demo-embedding")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder.load("demo-embedding")


def test_what_it_has_the_original_has_too(model: QsiftSentenceTransformer) -> None:
    from sentence_transformers import SentenceTransformer

    ours = {name for name in dir(QsiftSentenceTransformer) if not name.startswith("_")} | set(vars(model))
    missing = {name for name in ours if not name.startswith("_") and not hasattr(SentenceTransformer, name)}
    assert missing <= {"prompts", "default_prompt_name", "truncate_dim"}  # there they are set in the constructor
    theirs = inspect.signature(SentenceTransformer.encode).parameters
    names = list(inspect.signature(QsiftSentenceTransformer.encode).parameters)
    assert names[1] == "sentences" and names[2:6] == list(theirs)[2:6] and set(names[2:]) <= set(theirs)


def test_bare_texts_queries_and_documents_are_the_librarys(model: QsiftSentenceTransformer, embedder: Embedder) -> None:
    assert np.array_equal(model.encode(TEXTS), embedder.encode(TEXTS))
    assert np.array_equal(model.encode(TEXTS[0]), embedder.encode(TEXTS[0]))
    assert np.array_equal(model.encode_query(TEXTS), embedder.encode_query(TEXTS))
    assert np.array_equal(model.encode(TEXTS, prompt_name="query"), embedder.encode_query(TEXTS))
    assert np.array_equal(model.encode_document(TEXTS), embedder.encode_document(TEXTS))
    told = model.encode(TEXTS, prompt="Instruct: Find programs\nQuery:")
    assert np.array_equal(told, embedder.encode_query(TEXTS, instruction="Find programs"))
    assert np.array_equal(model.encode(np.array(TEXTS)), embedder.encode(TEXTS))
    assert model.encode([]).shape == (0, embedder.width)


def test_rows_have_length_1_also_when_cut(embedder: Embedder) -> None:
    model = QsiftSentenceTransformer(embedder, truncate_dim=64, default_prompt_name="query")
    assert np.array_equal(model.encode(TEXTS), embedder.encode_query(TEXTS, truncate_dim=64))
    assert np.allclose(np.linalg.norm(model.encode(TEXTS, normalize_embeddings=False), axis=1), 1, atol=1e-6)
    assert model.get_sentence_embedding_dimension() == model.get_embedding_dimension() == 64
    assert model.encode(TEXTS, precision="int8").dtype == np.int8
    rows = model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(rows, list) and np.array_equal(rows[1], model.encode(TEXTS[1]))


def test_similarities_are_cosines(model: QsiftSentenceTransformer, embedder: Embedder) -> None:
    vectors = model.encode(TEXTS)
    assert np.array_equal(model.similarity(vectors, vectors), embedder.similarity(vectors, vectors))
    assert np.allclose(model.similarity_pairwise(vectors, vectors), 1, atol=1e-6)
    assert np.allclose(model.similarity_pairwise(vectors[:1], vectors[1:2]), model.similarity(vectors[0], vectors[1]))
    with pytest.raises(ValueError, match=r"shapes \(1, \d+\) and \(2, \d+\)"):
        model.similarity_pairwise(vectors[0], vectors[:2])


def test_the_longest_sequence_may_be_set(model: QsiftSentenceTransformer, embedder: Embedder) -> None:
    assert model.max_seq_length == model.get_max_seq_length() == embedder.max_tokens
    short = QsiftSentenceTransformer(embedder)
    short.max_seq_length = 8
    long = "word " * 50
    with pytest.warns(UserWarning, match="cut to 8"):
        assert np.array_equal(short.encode(long), embedder.encode(long, max_tokens=8))
    short.max_seq_length = None
    assert short.max_seq_length == embedder.max_tokens
    with pytest.raises(InputTooLongError):
        embedder.encode(long, max_tokens=8, truncate=False)


def test_code_like_that_of_topic_models_runs_on_it(model: QsiftSentenceTransformer) -> None:
    from sklearn.cluster import KMeans

    texts = ["a red apple", "a green pear", "bake a cake", "unit tests", "a compiler error", "debug the program"]
    vectors = model.encode(texts, show_progress_bar=False)
    assert KMeans(2, n_init=3, random_state=0).fit_predict(vectors).shape == (len(texts),)


def test_wrong_input_gets_a_sentence(model: QsiftSentenceTransformer) -> None:
    with pytest.raises(ValueError, match="There is no prompt 'passage'; allowed are 'query', 'document'"):
        model.encode(TEXTS, prompt_name="passage")
    with pytest.raises(ValueError, match="There is no prompt 'passage'"):
        QsiftSentenceTransformer("demo-embedding", default_prompt_name="passage")
    with pytest.raises(ValueError, match="convert_to_tensor is True; qsift gives numpy arrays"):
        model.encode(TEXTS, convert_to_tensor=True)
    with pytest.raises(TypeError, match="Text 1 is of type int"):
        model.encode_query(["a", 3])


def test_neighbours_pairs_and_groups_are_those_of_its_utilities() -> None:
    from sentence_transformers import util

    random = np.random.default_rng(0)
    centres = np.repeat(random.standard_normal((30, 64)), random.integers(1, 20, 30), axis=0)
    vectors = (centres + 0.5 * random.standard_normal(centres.shape)).astype(np.float32)
    theirs = util.semantic_search(vectors[:9], vectors, top_k=5)
    assert semantic_search(vectors[:9], vectors, top_k=5).corpus_ids.tolist() == [
        [hit["corpus_id"] for hit in hits] for hits in theirs
    ]
    ours, theirs = paraphrase_mining(vectors, max_pairs=200), util.paraphrase_mining_embeddings(vectors)[:200]
    assert np.allclose(ours.scores, [score for score, _, _ in theirs], atol=1e-5)
    assert {*zip(ours.first, ours.second, strict=True)} == {(min(pair), max(pair)) for _, *pair in theirs}
    for size in (1, 5, 10):
        groups = community_detection(vectors, threshold=0.7, min_community_size=size)
        known = util.community_detection(vectors, threshold=0.7, min_community_size=size)
        assert sorted(map(sorted, groups)) == sorted(map(sorted, known)) and len(groups) > 1
    around = random.standard_normal((200, 4)).astype(np.float32)  # in groups that reach into each other
    groups = community_detection(around, threshold=0.8, min_community_size=3)
    known = util.community_detection(around, threshold=0.8, min_community_size=3)
    assert [(group[0], {*group}) for group in groups] == [(group[0], {*group}) for group in known]
