"""What a design costs: gates and delay by logic synthesis on a technology's cells, memory traffic, coded size."""

from hwsim.cost.synthesis import Cost, synthesize
from hwsim.cost.technology import TECHNOLOGIES, Technology, technology

__all__ = ["TECHNOLOGIES", "Cost", "Technology", "synthesize", "technology"]
