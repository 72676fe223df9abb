"""What is seen of a search: the taps on colbert-ai's searcher, stage by stage as PLAID has them.

What every query has a list of is gathered, and recorded as one when all queries are answered,
beside the lengths of the lists. The larger tensors are digested query by query.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np

from matrix_capture.recorder import Recorder
from matrix_capture.taps import Observation, Taps, torch_calls

SEARCH = Taps()
"""The taps in force while the queries are answered."""

_SEARCHER = "colbert.searcher:Searcher"
_SCORER = "colbert.search.index_storage:IndexScorer"
_CANDIDATES = "colbert.search.candidate_generation:CandidateGeneration"
_QUERY = ("query",)


@SEARCH.tap(f"{_SEARCHER}.search_all", opens="query")
def _search_all(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("query"):
        yield
        _record_lists(recorder)


def _record_lists(recorder: Recorder) -> None:
    """Record the lists that were gathered, each list of scores before what it belongs to."""
    for name in ("candidate", "pruned", "ranked"):
        lists = recorder.gathered(f"{name}_pids")
        if not lists:
            continue
        lengths = np.array([len(one) for one in lists])
        recorder.record(f"{name}_lengths", lengths)
        key = lengths
        if name == "ranked":
            key = np.concatenate(recorder.gathered("ranked_scores"))
            recorder.record("ranked_scores", key)
        recorder.record(f"{name}_pids", np.concatenate(lists), key=key)


@SEARCH.tap(f"{_SEARCHER}.encode", "query_embeddings", within=_QUERY)
def _encode(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    embeddings = yield
    return recorder.record("query_embeddings", embeddings)


@SEARCH.tap(f"{_CANDIDATES}.get_cells", "centroid_scores", within=_QUERY)
def _get_cells(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    cells, scores = yield
    return cells, recorder.record("centroid_scores", scores)


@SEARCH.tap(
    f"{_CANDIDATES}.generate_candidates", "candidate_lengths", "candidate_pids", within=_QUERY
)
def _generate_candidates(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    pids, _scores = yield
    recorder.gather("candidate_pids", pids)


@SEARCH.tap(
    "colbert.search.index_storage:colbert_score_reduce",
    "pruned_scores",
    "approx_scores",
    within=_QUERY,
)
def _score_reduce(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    # The last call before a query is scored in full makes the second of the two.
    scores = yield
    recorder.gather("approx_scores", scores)


@SEARCH.tap(
    f"{_SCORER}.score_pids",
    "pruned_lengths",
    "pruned_pids",
    "decompressed_embeddings",
    within=_QUERY,
)
def _score_pids(recorder: Recorder, scorer: Any, *_: Any, **__: Any) -> Observation:
    def normalized(_arguments: tuple[Any, ...], result: Any) -> Any:
        return recorder.record("decompressed_embeddings", result)

    # On a GPU they are restored part by part, and `lookup_pids` returns the whole.
    with nullcontext() if scorer.use_gpu else torch_calls(normalize=normalized):
        _scores, pids = yield
    recorder.gather("pruned_pids", pids)
    approximate = recorder.gathered("approx_scores")
    for scores in approximate[:-1]:
        recorder.record("pruned_scores", scores)
    for scores in approximate[-1:]:
        recorder.record("approx_scores", scores)


@SEARCH.tap(f"{_SCORER}.lookup_pids", within=_QUERY)
def _lookup_pids(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    embeddings, lengths = yield
    return recorder.record("decompressed_embeddings", embeddings), lengths


@SEARCH.tap(
    f"{_SEARCHER}.dense_search", "ranked_lengths", "ranked_scores", "ranked_pids", within=_QUERY
)
def _dense_search(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    pids, _ranks, scores = yield
    recorder.gather("ranked_pids", np.array(pids, np.int64))
    # colbert-ai hands them on as Python's floats, of which each is a float32 or less.
    recorder.gather("ranked_scores", np.array(scores, np.float32))
