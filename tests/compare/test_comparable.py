from typing import Any

import pytest

from matrix_compare.comparable import Difference, differences, environment_difference, obstacles
from tests.compare.conftest import record_of


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"torch": "9.9.9"}, ()),
        ({"packages": {"torch": "9"}, "host": {"gpu": "T4"}, "environ": {"A": "1"}}, ()),
        ({"inputs": {"checkpoint": "aa", "collection": "cc"}}, ("inputs differ: collection",)),
        ({"inputs": {"checkpoint": "aa"}}, ("inputs differ: collection",)),
        (
            {"fingerprint": {"cpu_model": "Y", "threads": 2}},
            ("fingerprint differs: cpu_model is 'X' and 'Y'",),
        ),
        (
            {"factors": {"python": "3.12", "numpy": "2"}},
            (
                "factors differ: numpy is nothing and '2'",
                "factors differ: python is '3.11' and '3.12'",
            ),
        ),
    ],
)
def test_obstacles(changes: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert obstacles(record_of(), record_of(**changes)) == expected


def test_the_environment_tells_both_values() -> None:
    a = record_of("2.7.1", environ={"OMP_NUM_THREADS": "2"})
    b = record_of("2.8.0", host={"cpu_model": "X", "cudnn": 91002})
    assert environment_difference(a, b) == (
        Difference(section="packages", name="torch", a="2.7.1", b="2.8.0"),
        Difference(section="host", name="cudnn", a=None, b="91002"),
        Difference(section="environ", name="OMP_NUM_THREADS", a="2", b=None),
    )
    assert environment_difference(a, a) == ()


def test_all_that_differs_has_what_the_environment_and_the_obstacles_tell() -> None:
    a = record_of("2.7.1", host={"cudnn": 2}, factors={"python": "3.11"})
    b = record_of("2.8.0", host={"cudnn": "2"}, factors={"python": "3.12"}, inputs={})
    found = differences(a, b)
    assert found[: len(environment_difference(a, b))] == environment_difference(a, b)
    assert {(one.section, one.name) for one in found} == {
        ("packages", "torch"),
        ("factors", "python"),
        ("inputs", "checkpoint"),
        ("inputs", "collection"),
    }
