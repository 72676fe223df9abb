"""Taps on a small stand-in for colbert-ai; on the real one they are tested where torch is."""

import dataclasses
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from matrix_capture.catalogue import BY_NAME, DEPTHS, SCOPES, Depth, expected
from matrix_capture.digest import content_hash, snapshot
from matrix_capture.errors import MatrixError
from matrix_capture.index_taps import INDEX
from matrix_capture.recorder import Recorder
from matrix_capture.schema import run_stage
from matrix_capture.search_taps import SEARCH
from matrix_capture.taps import Observation, Tap, Taps, tapped
from matrix_capture.training_taps import TRAINING


class Base:
    def inherited(self, value: list[int]) -> list[int]:
        return value


class Codec(Base):
    def compress(self, values: list[int], *, fail: bool = False) -> list[int]:
        if fail:
            raise OSError("no codec")
        return values

    @staticmethod
    def static(values: list[int]) -> list[int]:
        return values

    @classmethod
    def of(cls, values: list[int]) -> tuple[type, list[int]]:
        return cls, values


class Finer(Codec):
    pass


def function(values: list[int]) -> list[int]:
    return values


def _see(recorder: Recorder, *arguments: Any, **_: Any) -> Observation:
    recorder.record("embs", arguments[-1])
    result = yield
    recorder.record("codes", result[1] if isinstance(result, tuple) else result)


def _see_result(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    result = yield
    recorder.record("D", result)


TARGETS = {
    "function": "fake.module:function",
    "method": "fake.module:Codec.compress",
    "inherited": "fake.module:Base.inherited",
    "staticmethod": "fake.module:Codec.static",
    "classmethod": "fake.module:Codec.of",
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """The stand-in; afterwards nothing in it may have changed."""
    module = types.ModuleType("fake.module")
    for thing in (Base, Codec, Finer, function):
        setattr(module, thing.__name__, thing)
    monkeypatch.setitem(sys.modules, "fake", types.ModuleType("fake"))
    monkeypatch.setitem(sys.modules, "fake.module", module)
    before = [dict(vars(thing)) for thing in (module, Base, Codec, Finer)]
    yield module
    assert [dict(vars(thing)) for thing in (module, Base, Codec, Finer)] == before


def see(target: str) -> Tap:
    return Tap(target=target, artifacts=("embs", "codes"), observe=_see)


def seen(recorder: Recorder) -> list[str]:
    names: list[str] = recorder.table()["artifact"].to_pylist()
    return names


# What is observed, and that nothing changes.


def calls(module: Any, values: list[int]) -> dict[str, Any]:
    return {
        "function": lambda: module.function(values),
        "method": lambda: module.Codec().compress(values),
        "inherited": lambda: module.Codec().inherited(values),
        "staticmethod": lambda: module.Codec.static(values),
        "classmethod": lambda: module.Codec.of(values)[1],
    }


@pytest.mark.parametrize("kind", TARGETS)
def test_a_call_is_seen_and_its_result_is_the_very_object(
    kind: str, fake: types.ModuleType
) -> None:
    planted = Taps([see(TARGETS[kind])])
    recorder, values = Recorder(), [1, 2]
    call = calls(fake, values)[kind]
    with tapped(recorder, planted):
        assert call() is values
    assert call() is values
    assert seen(recorder) == ["embs", "codes"]
    assert recorder.missing == {}


def test_methods_of_a_class_stay_what_they_are(fake: Any) -> None:
    planted = Taps([see(TARGETS["staticmethod"]), see(TARGETS["classmethod"])])
    values = [1]
    with tapped(Recorder(), planted):
        assert fake.Codec().static(values) is values
        assert fake.Finer.static(values) is values
        assert fake.Codec().of(values) == (Codec, values)
        assert fake.Finer.of(values) == (Finer, values)


def test_a_wrapper_keeps_the_name_and_the_words(fake: Any) -> None:
    planted = Taps([see(TARGETS["function"])])
    with tapped(Recorder(), planted):
        assert fake.function is not function
        assert (fake.function.__name__, fake.function.__wrapped__) == ("function", function)


def test_two_taps_on_one_target_both_see(fake: Any) -> None:
    target = TARGETS["method"]
    other = Tap(target=target, artifacts=("D",), observe=_see_result)
    planted = Taps([see(target), other])
    recorder = Recorder()
    with tapped(recorder, planted):
        fake.Codec().compress([1])
    assert sorted(seen(recorder)) == ["D", "codes", "embs"]


@pytest.mark.parametrize("kind", TARGETS)
def test_an_exception_in_the_body_restores_everything(kind: str, fake: types.ModuleType) -> None:
    planted = Taps([see(TARGETS[kind])])
    with pytest.raises(KeyboardInterrupt), tapped(Recorder(), planted):
        raise KeyboardInterrupt
    assert fake.__dict__["function"] is function


# What a tap hands on.


def handing(target: str, arguments: Any = None, result: Any = None) -> Tap:
    def observe(recorder: Recorder, *_: Any, **__: Any) -> Observation:
        yield arguments
        return result

    return Tap(target=target, artifacts=("D",), observe=observe)


def test_what_a_tap_yields_goes_on_in_place_of_all_arguments(fake: Any) -> None:
    values, codec = [2], fake.Codec()
    planted = Taps([handing(TARGETS["method"], (codec, values))])
    with tapped(Recorder(), planted):
        # The keyword would make the original fail.
        assert fake.Codec().compress([1], fail=True) is values
    assert fake.Codec().compress([1]) == [1]


def test_what_a_tap_returns_goes_on_in_place_of_the_result(fake: Any) -> None:
    values: list[int] = []  # which is no nothing
    planted = Taps([handing(TARGETS["function"], result=values)])
    with tapped(Recorder(), planted):
        assert fake.function([1]) is values
    assert fake.function([1]) == [1]


def test_what_two_taps_hand_on_goes_through_both(fake: Any) -> None:
    target = TARGETS["function"]
    planted = Taps([handing(target, ([2],)), handing(target, result=[3]), see(target)])
    recorder = Recorder()
    with tapped(recorder, planted):
        assert fake.function([1]) == [3]
    # The last that was installed is the first to see; what goes in is not yet another.
    before, after = recorder.table()["digest"].to_pylist()
    assert before == content_hash(snapshot([1]))
    assert after == content_hash(snapshot([3]))


@pytest.mark.parametrize("when", ["before the call", "after it"])
def test_a_tap_that_fails_hands_nothing_on(when: str, fake: Any) -> None:
    def observe(recorder: Recorder, *_: Any, **__: Any) -> Observation:
        if when == "after it":
            yield
        raise RuntimeError("planted")

    planted = Taps([Tap(target=TARGETS["function"], artifacts=("D",), observe=observe)])
    recorder, values = Recorder(), [1]
    with tapped(recorder, planted):
        assert fake.function(values) is values
    assert "D" in recorder.missing


# Failures: of the original, of the tap, of finding the target.


def test_an_exception_of_the_original_is_its_own(fake: Any) -> None:
    def observe(recorder: Recorder, *_: Any, **__: Any) -> Observation:
        with recorder.within("sample"):
            yield

    planted = Taps([Tap(target=TARGETS["method"], artifacts=("D",), observe=observe)])
    recorder = Recorder()
    with tapped(recorder, planted):
        with pytest.raises(OSError, match="no codec") as caught:
            fake.Codec().compress([1], fail=True)
        assert recorder.scope == "setup"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert recorder.missing == {}


@pytest.mark.parametrize(
    ("target", "gone"),
    [
        ("fake.module:renamed", "function"),
        ("fake.module:Codec.renamed", "attribute"),
        ("fake.module:Codec.inherited", "override"),
        ("fake.module:Renamed.compress", "class"),
        ("fake.renamed:function", "module"),
    ],
)
def test_a_renamed_target_is_missing_and_others_are_recorded(
    target: str, gone: str, fake: Any
) -> None:
    renamed = Tap(target=target, artifacts=("ivf", "ivf_lengths"), observe=_see_result)
    planted = Taps([renamed, see(TARGETS["function"])])
    recorder = Recorder()
    with tapped(recorder, planted):
        fake.function([1])
    reason = f"tap target not found: {target}"
    assert recorder.missing == {"ivf": reason, "ivf_lengths": reason}, gone
    assert seen(recorder) == ["embs", "codes"]


def test_what_a_class_inherits_is_not_what_it_defines(fake: Any) -> None:
    planted = Taps([see("fake.module:Codec.inherited")])
    recorder, values = Recorder(), [1]
    with tapped(recorder, planted):
        assert fake.Codec().inherited(values) is values
    assert set(recorder.missing) == {"embs", "codes"}
    assert seen(recorder) == []


# Passes.


def _open(recorder: Recorder, *_: Any, **__: Any) -> Observation:
    with recorder.within("chunk.3"):
        yield


def opening(target: str) -> Tap:
    return Tap(target=target, artifacts=("sample_pids",), observe=_open, opens="chunk")


def inside(*passes: str) -> Tap:
    return Tap(target=TARGETS["function"], artifacts=("D",), observe=_see_result, within=passes)


@pytest.mark.parametrize(
    ("tap", "scopes"),
    [
        (inside(), ["setup", "sample", "chunk.3"]),
        (inside("chunk"), ["chunk.3"]),
        (inside("sample", "chunk"), ["sample", "chunk.3"]),
        (inside("heldout"), []),
    ],
)
def test_a_tap_observes_only_within_its_passes(tap: Tap, scopes: list[str], fake: Any) -> None:
    planted = Taps([tap])
    recorder, values = Recorder(), [1]
    with tapped(recorder, planted):
        for scope in ("setup", "sample", "chunk.3"):
            with recorder.within(scope):
                assert fake.function(values) is values
    assert recorder.table()["scope"].to_pylist() == scopes
    assert recorder.missing == {}


@pytest.mark.parametrize("how", ["renamed", "failing"])
def test_a_lost_pass_is_noted_for_all_that_is_seen_in_it(how: str, fake: Any) -> None:
    def fail(*_: Any, **__: Any) -> Observation:
        raise RuntimeError("planted")
        yield

    gone = opening("fake.module:Codec.renamed")
    if how == "failing":
        gone = dataclasses.replace(opening(TARGETS["method"]), observe=fail)
    elsewhere = Tap(
        target=TARGETS["staticmethod"], artifacts=("embs",), observe=_see, within=("sample",)
    )
    planted = Taps([gone, inside("sample", "chunk"), elsewhere])
    recorder = Recorder()
    with tapped(recorder, planted):
        fake.Codec().compress([1])
        fake.function([1])
        with recorder.within("sample"):
            fake.function([1])
    assert set(recorder.missing) == {"sample_pids", "D"}
    assert recorder.table()["scope"].to_pylist() == ["sample"]


def _unpack(recorder: Recorder, *_: Any) -> Observation:
    with recorder.within("sample"):
        one, _two = yield
        recorder.record("D", one)


def _undigestable(recorder: Recorder, *_: Any) -> Observation:
    yield
    recorder.record("D", object())


def _early(recorder: Recorder, *_: Any) -> Observation:
    recorder.record("D", "text")
    yield


def _another_signature(recorder: Recorder, one: Any, two: Any) -> Observation:
    recorder.record("D", two)
    yield


FAILING = {
    "wrong arity": (_unpack, "ValueError: not enough values to unpack"),
    "cannot be digested": (_undigestable, "TypeError: cannot digest a object"),
    "before the call": (_early, "TypeError: cannot digest a str"),
    "other arguments": (_another_signature, "TypeError: _another_signature() missing 1"),
}


@pytest.mark.parametrize("name", FAILING)
def test_a_failing_tap_is_noted_and_the_call_goes_on(name: str, fake: Any) -> None:
    observe, reason = FAILING[name]
    target = TARGETS["function"]
    failing = Tap(target=target, artifacts=("D", "sample"), observe=observe)
    planted = Taps([failing, see(TARGETS["method"])])
    recorder, values = Recorder(), [1]
    with tapped(recorder, planted):
        assert fake.function(values) is values
        assert recorder.scope == "setup"
        fake.Codec().compress(values)
    assert set(recorder.missing) == {"D", "sample"}
    assert recorder.missing["D"].startswith(f"tap on {target} failed: {reason}")
    assert seen(recorder) == ["embs", "codes"]


def test_the_first_reason_stays(fake: Any) -> None:
    reasons = iter(["first", "second"])

    def observe(recorder: Recorder, *_: Any) -> Observation:
        raise RuntimeError(next(reasons))
        yield

    planted = Taps([Tap(target=TARGETS["function"], artifacts=("D",), observe=observe)])
    recorder = Recorder()
    with tapped(recorder, planted):
        fake.function([1])
        fake.function([1])
    assert recorder.missing == {"D": "tap on fake.module:function failed: RuntimeError: first"}


# The real table.

WHOLE = Taps([*INDEX, *SEARCH, *TRAINING])


def test_every_pass_that_a_tap_looks_into_is_opened_by_one() -> None:
    opened = [tap.opens for tap in WHOLE if tap.opens]
    assert sorted(opened) == sorted(set(opened))
    assert {name for tap in WHOLE for name in tap.within} == set(opened) <= set(SCOPES)


def test_the_table_names_artifacts_of_the_catalogue_once() -> None:
    named = [artifact for tap in WHOLE for artifact in tap.artifacts]
    assert sorted(named) == sorted(set(named))
    assert set(named) <= set(BY_NAME)


def test_every_intermediate_but_the_weights_has_a_tap() -> None:
    named = {artifact for tap in WHOLE for artifact in tap.artifacts}
    made = {name for name, artifact in BY_NAME.items() if artifact.kind == "intermediate"}
    assert made - named == {"weights"}


@pytest.mark.parametrize("depth", DEPTHS)
def test_without_colbert_every_tapped_artifact_is_missing(depth: Depth) -> None:
    recorder = Recorder(depth=depth)
    with tapped(recorder, WHOLE):
        pass
    wanted = expected("cpu", depth)
    made = {a.name for a in wanted if a.kind == "intermediate" or run_stage(a.stage) != "index"}
    assert set(recorder.missing) == made - {"weights"}
    assert all("tap target not found: colbert." in why for why in recorder.missing.values())


def test_a_store_that_fails_stops_the_run(fake: Any) -> None:
    def store(recorder: Recorder, *_: Any, **__: Any) -> Observation:
        yield
        raise MatrixError("cannot store a value")

    planted = Taps([Tap(target=TARGETS["function"], artifacts=("embs",), observe=store)])
    recorder = Recorder()
    with tapped(recorder, planted), pytest.raises(MatrixError, match="cannot store a value"):
        fake.function([1])
    assert recorder.missing == {}
