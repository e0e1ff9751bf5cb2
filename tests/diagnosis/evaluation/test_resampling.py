import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skinflow_plugins.diagnosis.evaluation.resampling import clusters_of, intervals, resamples
from skinflow_plugins.diagnosis.evaluation.statistic import mean, mean_of_quotients, quotient, share


def test_patients_are_drawn_whole() -> None:
    clusters = clusters_of(["a", "a", None, "b", "b", "b"])
    assert clusters is not None
    assert clusters.tolist() == [0, 0, 1, 2, 2, 2]
    assert clusters_of([None, None]) is None
    for weights in resamples(6, clusters, 50, seed=1):
        assert (weights[:, 0] == weights[:, 1]).all()
        assert (weights[:, 3] == weights[:, 5]).all()
        assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_weighted_sums_are_the_resampled_figure(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=n)
    statistic = mean("x", "x", values)
    for weights in resamples(n, None, 5, seed):
        for row in weights:
            drawn = np.repeat(values, row.astype(int))
            assert np.isclose(statistic.value(row.astype(float)), drawn.mean())


def test_the_interval_is_the_percentile_interval() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=200)
    ((low, high),) = intervals([mean("x", "x", values)], None, 4000, 0)
    half = 1.96 * values.std() / np.sqrt(200)
    assert low is not None
    assert high is not None
    assert abs(low - (values.mean() - half)) < 0.02
    assert abs(high - (values.mean() + half)) < 0.02


def test_nothing_counts() -> None:
    nobody = share("x", "x", np.zeros(3, dtype=bool), np.zeros(3, dtype=bool))
    assert np.isnan(nobody.value())
    assert intervals([nobody], None, 10, 0) == [(None, None)]
    assert np.isnan(quotient(np.zeros(2)))
    assert np.isnan(mean_of_quotients(np.zeros(4)))
    assert mean_of_quotients(np.array([1.0, 0.0, 2.0, 0.0])) == 0.5
