"""Questions put to what evaluates design points; where one is not answered, the designs it is about are left out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hwsim.explore.attempt import Answer, Evaluate, Progress, SetAside, attempts, one_by_one
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import DesignPoint
from hwsim.explore.question import Asked, Branch, Question, formats, of_formats

Recall = Callable[[Branch], SetAside | None]
"""From a branch to how it was left out before, if it was."""


class Inquiry:
    """What questions have come to so far: ``left_out`` are the branches that one about them has no answer for.

    A question that fails is put once more for each format of weights by itself, so that a format that nobody can have
    costs that format alone.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        recall: Recall = lambda branch: None,
        progress: Progress = lambda stage, done, planned: None,
    ) -> None:
        self._evaluate, self._recall, self._progress = evaluate, recall, progress
        self.left_out: dict[Branch, SetAside] = {}

    def __call__(self, questions: Sequence[Asked]) -> list[tuple[Asked, Any]]:
        """Return what can be answered of some questions, in their order: about which choices, and the answer."""
        asked = [left for question in questions if (left := self._left(question)) is not None]
        answers = self._answers(asked)
        found = []
        for question, answer in zip(asked, answers, strict=True):
            if isinstance(answer, SetAside):
                found += self._without_what_fails(question, answer)
            else:
                found.append((question, answer))
        return found

    def _left(self, question: Asked) -> Asked | None:
        """Return a question without the formats that are left out already; None where all its designs are."""
        branch: Branch = question.branch
        weights: tuple[str, ...] = formats(question)
        for one in (branch, *(branch.with_weights(form) for form in weights)):
            if one not in self.left_out and (known := self._recall(one)) is not None:
                self.left_out[one] = known
        if any(known.covers(branch) for known in self.left_out):
            return None
        gone = {
            form
            for form in weights
            if any(known.covers(branch.with_weights(form)) for known in self.left_out)
        }
        return of_formats(question, [form for form in weights if form not in gone]) if gone else question

    def _without_what_fails(self, question: Asked, failed: SetAside) -> list[tuple[Asked, Any]]:
        """Leave out the formats of weights that fail by themselves and ask again, or leave out the whole branch."""
        weights = formats(question)
        apart = [of_formats(question, [form], form) for form in weights] if len(weights) > 1 else []
        answers = zip(weights, self._answers(apart), strict=False)
        failing = {form: answer for form, answer in answers if isinstance(answer, SetAside)}
        if 0 < len(failing) < len(weights):
            self.left_out |= {question.branch.with_weights(form): aside for form, aside in failing.items()}
            return self([question])
        self.left_out[question.branch] = failed
        return []

    def _answers(self, questions: Sequence[Question]) -> list[Any]:
        """Return each question's answer, or that it failed."""
        of: dict[object, Any] = {}
        if questions:
            self._progress(questions[0].stage, 0, len(questions))
        for made in attempts(self._evaluate, deque(questions)):
            if isinstance(made, SetAside):
                of[made.point] = made
            elif isinstance(made.result, Answer) and not isinstance(made.point, DesignPoint):
                of[made.point.branch] = json.loads(made.result.text)
            self._progress(questions[0].stage, len(of), len(questions))
        return [of[question.branch] for question in questions]

    def apart(self) -> Inquiry:
        """Return an inquiry that leaves out the same, and whatever it leaves out more is no concern of this one."""
        other = Inquiry(self._evaluate, self._recall, self._progress)
        other.left_out = dict(self.left_out)
        return other


def in_this_process(bench: Bench) -> Inquiry:
    """Return an inquiry that is answered here: a question that ends its process ends this one."""
    return Inquiry(one_by_one(bench))
