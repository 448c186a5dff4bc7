"""One completion becomes a record: read, judged and paid for as in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from helpers.data import messages
from helpers.recipes import PENALTIES, Recipe
from helpers.rows import Example
from helpers.training import reward_table


@dataclass(frozen=True)
class Record:
    """One graded completion, a line of an evaluation's file.

    extracted: the answer in its place; flexible: the last number or box anywhere; None for none.
    score: of the extracted answer, 0 to 1. follows: it has the whole format. outcome: one of
    OUTCOMES. rewards: what training would have paid, `reward` their weighted sum.
    sample: its number among a problem's drawn answers; None for a greedy one.
    """

    id: str
    question: str
    gold: str
    completion: str
    tokens: int
    finished: bool
    extracted: str | None
    flexible: str | None
    flexible_right: bool
    score: float
    follows: bool
    outcome: str
    reward: float
    rewards: Mapping[str, float]
    sample: int | None = None

    @property
    def line(self) -> dict:
        """As it is written; `sample` only where it was drawn."""
        found = asdict(self)
        if self.sample is None:
            del found["sample"]
        return found


def grade(recipe: Recipe, example: Example, text: str, tokens: int, finished: bool) -> Record:
    """The record of one completion."""
    gold = example.answer
    extracted = recipe.format.extract(text)
    flexible = recipe.format.extract_flexible(text)
    score = recipe.score(extracted, gold) or 0.0
    flexible_right = max(score, recipe.score(flexible, gold) or 0.0) == 1.0
    follows = recipe.format.follows(text)
    if not finished:
        outcome = "truncated"
    elif score == 1.0 and follows:
        outcome = "correct"
    elif flexible_right:
        outcome = "right_wrong_format"
    elif extracted is None:
        outcome = "no_answer"
    else:
        outcome = "wrong"
    # Penalties judge token ids, which a text does not have.
    weights = {name: w for name, w in recipe.rewards.items() if name not in PENALTIES}
    prompt = messages(recipe, example.question)
    paid = reward_table(replace(recipe, rewards=weights), [text], [gold], prompts=[prompt])
    rewards = {name: values[0] for name, values in paid.items()}
    return Record(
        id=example.id,
        question=example.question,
        gold=gold,
        completion=text,
        tokens=tokens,
        finished=finished,
        extracted=extracted,
        flexible=flexible,
        flexible_right=flexible_right,
        score=score,
        follows=follows,
        outcome=outcome,
        reward=rewards.pop("total"),
        rewards=rewards,
    )
