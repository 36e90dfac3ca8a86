"""All searches by name."""

from hwsim.explore.exact import exact
from hwsim.explore.greedy import greedy
from hwsim.explore.samplers import nsga2, tpe
from hwsim.explore.search import Search, evolve, random, uniform

SEARCHES: dict[str, Search] = {
    "evolve": evolve,
    "exact": exact,
    "greedy": greedy,
    "nsga2": nsga2,
    "tpe": tpe,
    "uniform": uniform,
    "random": random,
}
"""What :data:`hwsim.explore.study.SEARCH_NAMES` names."""
