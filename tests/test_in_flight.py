"""Points are proposed while others are under evaluation; no order in which they end changes anything."""

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

import tiny
from hwsim.errors import HwsimError
from hwsim.explore.attempt import attempt
from hwsim.explore.evaluation import DesignPoint
from hwsim.explore.exploration import explore
from hwsim.explore.study import read_study
from test_workers import stored


@pytest.fixture(scope="module")
def place(tmp_path_factory, working_in):
    return working_in(tiny.write(tmp_path_factory.mktemp("study")))


def study_of(place, **given):
    return read_study(place / "study.toml").model_copy(update=given)


@contextmanager
def held_back(next_one, bench):
    """Evaluate in this process the ``next_one`` of all points that were ever given and have not ended; questions in turn."""

    def evaluate(waiting):
        own = []
        while waiting or own:
            while waiting:
                own.append(waiting.popleft())
            points = [point for point in own if isinstance(point, DesignPoint)]
            point = next_one(points) if points else own[0]
            own.remove(point)
            yield attempt(bench, point, 1)

    yield evaluate


SEARCHES = ["exact", "evolve", "random", "nsga2", "greedy", "uniform"]


def outcome(explored, folder):
    """All that an exploration came to."""
    return explored.evaluations, explored.set_aside, explored.beliefs, stored(folder)


@pytest.mark.parametrize("search", SEARCHES)
def test_in_whatever_order_points_end_the_outcome_is_the_same(place, search):
    study = study_of(place, search=search, in_flight=4)
    expected = outcome(explore(study, place / search), place / search)
    rng = np.random.default_rng(0)
    for folder in (place / f"{search}{number}" for number in range(3)):
        explored = explore(
            study, folder, evaluators=partial(held_back, lambda points: points[rng.integers(len(points))])
        )
        assert outcome(explored, folder) == expected


@pytest.mark.parametrize("ended", [1, 3, 5, 8])
def test_whichever_points_had_ended_when_it_was_interrupted_it_goes_on_to_the_same(place, ended):
    study, folder = study_of(place, in_flight=6), place / f"interrupted{ended}"

    def interrupt(stage, done, planned):
        if stage == "evaluate design points" and done == ended:
            raise KeyboardInterrupt

    last = partial(held_back, lambda points: points[-1])
    with pytest.raises(KeyboardInterrupt):
        explore(study, folder, evaluators=last, progress=interrupt)
    assert len(stored(folder)) == ended
    explored = explore(study, folder, evaluators=last)
    assert explored.reused == ended
    whole = place / f"whole{ended}"
    assert outcome(explored, folder) == outcome(explore(study, whole), whole)


@pytest.mark.parametrize("in_flight", [1, 2, 3, 4, 7, 8, 100])
def test_while_one_point_takes_its_time_as_many_others_go_on_as_may_be_in_flight(place, in_flight):
    """So no worker waits for the end of a step; of one point in flight nothing is known to be proposed beside it."""
    ended, at_a_time = [], []

    def anything_but_the_first(points):
        at_a_time.append(len(points))
        ended.append(points[-1])
        return points[-1]

    evaluators = partial(held_back, anything_but_the_first)
    study = study_of(place, in_flight=in_flight)
    explored = explore(study, place / f"flight{in_flight}", evaluators=evaluators)
    assert ended.index(explored.evaluations[0].point) == min(in_flight, study.budget) - 1
    assert max(at_a_time) == min(in_flight, study.budget)
    assert len(set(ended)) == study.budget


OWN = """
def first_left(space, done, objectives, rng, count):
    points = [space.point(bits, "mac", own) for own in space.quantizers for bits in space.patterns]
    known = {e.point for e in done} | space.set_aside
    return [point for point in points if point not in known][:count]
"""


def test_a_search_that_knows_of_no_pending_points_is_asked_again_when_they_have_ended(place):
    (place / "own.py").write_text(OWN)
    study = study_of(place, search="own.py:first_left", in_flight=4, budget=12)
    explored = explore(study, place / "own")
    assert [e.point.quantizer for e in explored.evaluations] == [
        own for own in study.space.quantizers for _ in range(2)
    ]


FAILING = """
from hwsim.quantize.min_max import threshold

def fails(statistics, target):
    raise RuntimeError("no threshold")
"""


def failing(place, good, bad):
    (place / "failing.py").write_text(FAILING)
    names = [f"activations=failing.py:fails tolerance={1 + n / 1000:g}" for n in range(bad)]
    names += [f"activations=min_max tolerance={1 + n / 1000:g}" for n in range(good)]
    study = study_of(place, search="own.py:first_left", in_flight=4, budget=len(names))
    (place / "own.py").write_text(OWN)
    return study.model_copy(
        update={"space": study.space.model_copy(update={"weights": ("int4",), "quantizers": tuple(names)})}
    )


def test_points_that_fail_are_set_aside_until_eight_of_them_and_no_other_have(place):
    explored = explore(failing(place, good=2, bad=7), place / "seven")
    assert (len(explored.evaluations), len(explored.set_aside)) == (2, 7)
    with pytest.raises(
        HwsimError, match="none of the first 8 design points can be evaluated; the first: Runt"
    ):
        explore(failing(place, good=2, bad=9), place / "nine")
    with pytest.raises(HwsimError, match="none of the first 3 design points can be evaluated"):
        explore(failing(place, good=0, bad=3), place / "three")


def test_what_is_kept_says_how_many_points_are_in_flight(place):
    explore(study_of(place, in_flight=3), place / "three_in_flight")
    assert read_study(place / "three_in_flight" / "study.toml").in_flight == 3
    with pytest.raises(HwsimError, match="holds another study"):
        explore(study_of(place, in_flight=4), place / "three_in_flight")
