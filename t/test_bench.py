"""What the benches share: ratios of pairs, their order, and the last line of the report."""

import json

import pytest

from bench.common import LEAST_PAIRS, Pairs, percentile, report


def test_the_report_ends_with_medians_spreads_and_figures_as_one_line_of_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs = Pairs()
    for this in (2.0, 4.0, 6.0, 8.0, 100.0):
        pairs.add("a_vs_b", this, 2.0)
    report("thing", pairs, {"load_s": 1.23456, "listed": 1_000_000})
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "bench": "thing",
        "ratio": {"a_vs_b": 3.0},
        "spread": {"a_vs_b": [1.0, 50.0]},
        "figures": {"load_s": 1.235, "listed": 1_000_000},
    }
    assert pairs.medians() == {"a_vs_b_this": 6.0, "a_vs_b_peer": 2.0}


def test_too_few_pairs_make_no_report() -> None:
    pairs = Pairs()
    for _ in range(LEAST_PAIRS - 1):
        pairs.add("a_vs_b", 1, 1)
    with pytest.raises(ValueError, match="a_vs_b: got 4 pairs"):
        pairs.ratios()


def test_both_sides_take_turns_in_going_first_and_warming_up_does_not_count() -> None:
    pairs, order = Pairs(), []

    def side(name: str) -> float:
        order.append(name)
        return 1.0

    for turn in range(-1, LEAST_PAIRS):
        pairs.run("a_vs_b", lambda: side("a"), lambda: side("b"), turn)
    assert "".join(order) == "ba" + "ab" + "ba" + "ab" + "ba" + "ab"
    assert pairs.ratios() == {"a_vs_b": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize(("percent", "want"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_percentiles_are_values_that_occurred(percent: float, want: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == want
