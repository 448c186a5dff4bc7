"""What GRPO pays for, by TRL's contract: `f(completions, **columns)`, one number a completion.

`gsm8k_xml` has four rewards of its own: three for the form and one for the last number, wherever it
stands, as published. So that the form does not die while the number is right, the three for the
form together weigh as much. `accuracy_reward` and `format_reward` read a reply with the recipe's
own format and score, as evaluation does. Recipes hold the weights.

A reward of your own is a function here, an entry in `REWARDS`, and its name with a weight in a
recipe. Its parameters end with `**_`: what is in `GIVEN` always comes. Any other without a default
is a column of your rows; only `accuracy_reward` and `format_reward` are given `format` and `score`.
It pays 0 to 1, and 1 to a right reply, else the row is left out before GRPO (`check_golds` in
training/stages.py); one that only shapes, or takes away (negative numbers, with a positive weight),
stands in the recipe's `shaping` with its range, as those of `r_length` and `r_repeat` in
`recipes.PENALTIES`. None leaves the reward out for that reply.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np

from helpers.answers import (
    XML,
    XML_TAGS,
    Format,
    after_thinking,
    last_number,
    same_number,
    strict_xml,
)
from helpers.recipes import Recipe
from helpers.rows import Example

Reward = Callable[..., list[float | None]]
# What TRL gives every reward, beside the columns of the rows
GIVEN = ("completions", "completion_ids", "prompts", "answer", "id")
GIVEN += ("trainer_state", "log_extra", "log_metric")
NEAR = 1e-6  # by which a reward may miss its range
STEPS = 6  # lines of reasoning that earn `trace_reward`


def texts(completions: Sequence) -> list[str]:
    """The text of each completion, which TRL gives as a string or as a list of messages."""
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def r_strict(completions, **_) -> list[float]:
    """1 for exactly the shape that SFT taught, to the line break."""
    return [float(strict_xml(text)) for text in texts(completions)]


def r_soft(completions, **_) -> list[float]:
    """1 for all four tags once, in order and filled, with any white space."""
    return [float(XML.follows(text)) for text in texts(completions)]


def r_xmlcount(completions, **_) -> list[float]:
    """A quarter for each of the four tags that is there exactly once."""
    return [sum(text.count(tag) == 1 for tag in XML_TAGS) / 4 for text in texts(completions)]


def r_correctness(completions, answer, **_) -> list[float | None]:
    """1 if the last number of the reply, after any thinking, is the answer.

    None, which TRL leaves out, if the gold cannot be read.
    """
    pairs = zip(texts(completions), answer, strict=True)
    return [same_number(last_number(after_thinking(text)), gold) for text, gold in pairs]


def accuracy_reward(completions, answer, *, format: Format, score, **_) -> list[float | None]:
    r"""The score, 0 to 1, of the answer where the format has it, after any thinking.

    None, which TRL leaves out, if the gold cannot be read.

    >>> from helpers.answers import BOXED, same_math
    >>> replies = [r"so \boxed{\frac12}", "so 0.5"]
    >>> accuracy_reward(replies, answer=["0.5", "0.5"], format=BOXED, score=same_math)
    [1.0, 0.0]
    """
    pairs = zip(texts(completions), answer, strict=True)
    return [score(format.extract(text), gold) for text, gold in pairs]


def format_reward(completions, *, format: Format, **_) -> list[float]:
    r"""1 if the format's parts are there, filled and closed, with one answer.

    That is the format's `holds`. Strict accuracy asks for its `follows`: nothing after them, say.

    >>> from helpers.answers import THINK_BOXED
    >>> format_reward([r"<think>so</think> \boxed{7}", r"\boxed{7}"], format=THINK_BOXED)
    [1.0, 0.0]
    """
    return [float(format.holds(text)) for text in texts(completions)]


def trace_reward(completions, prompts=None, **_) -> list[float]:
    """1 for six lines of reasoning: different ones, with a letter or digit, not from the prompt.

    >>> trace_reward(["\\n".join("abcdef"), "\\n" * 9, "again\\n" * 9])
    [1.0, 0.0, 0.0]
    """
    rewards = []
    for number, text in enumerate(texts(completions)):
        prompt = prompts[number] if prompts else ""
        if not isinstance(prompt, str):
            prompt = "\n".join(message["content"] for message in prompt)
        rewards.append(float(len(lines_of(text) - lines_of(prompt)) >= STEPS))
    return rewards


def lines_of(text: str) -> set[str]:
    """The different lines of a text that say something."""
    return {line.strip() for line in text.splitlines() if any(map(str.isalnum, line))}


def r_repeat(completions, completion_ids, **_) -> list[float]:
    """Optional: 0 down to −1 as more three-token sequences repeat (TRL's repetition penalty)."""
    from trl.rewards import get_repetition_penalty_reward

    return get_repetition_penalty_reward()(completion_ids)


def r_length(completions, completion_ids, max_completion_length: int, **_) -> list[float]:
    """Optional: 0, falling to −1 over the last fifth of the allowed length (DAPO, from TRL)."""
    from trl.rewards import get_soft_overlong_punishment

    fifth = max(1, max_completion_length // 5)
    return get_soft_overlong_punishment(max_completion_length, fifth)(completion_ids)


REWARDS: dict[str, Reward] = {
    "r_strict": r_strict,
    "r_soft": r_soft,
    "r_xmlcount": r_xmlcount,
    "r_correctness": r_correctness,
    "r_length": r_length,
    "r_repeat": r_repeat,
    "accuracy_reward": accuracy_reward,
    "format_reward": format_reward,
    "trace_reward": trace_reward,
}


def reward_functions(recipe: Recipe) -> tuple[list["Paid"], list[float]]:
    """A recipe's functions, with what they need of it, and their weights, for GRPOTrainer."""
    needs = {
        "r_length": {"max_completion_length": recipe.grpo.max_completion},
        "format_reward": {"format": recipe.format},
        "accuracy_reward": {"format": recipe.format, "score": recipe.score},
    }
    for name, span in recipe.shaping.items():
        if name not in recipe.rewards:
            what = f"{recipe.name} has a shaping of {name!r}, which it does not pay for."
            raise ValueError(f"{what}\nIts rewards are: {', '.join(recipe.rewards)}.")
        if not isinstance(span, tuple | list) or len(span) != 2:
            cure = "Give the least and the most that it pays, such as (-1, 0)."
            raise ValueError(f"{recipe.name} has {span!r} as the shaping of {name}.\n{cure}")
    functions = []
    for name in recipe.rewards:
        if name not in REWARDS:
            known = ", ".join(REWARDS)
            raise ValueError(f"{recipe.name} pays for {name!r}.\nThe rewards are: {known}.")
        functions.append(Paid(name, recipe, needs.get(name, {})))
    return functions, list(recipe.rewards.values())


class Paid:
    """A reward as a recipe uses it: by its name, as TRL logs it, and given the recipe's own parts.

    needs: those parts, such as the format. It reads replies with the thinking that the chat
    template opened.
    """

    def __init__(self, name: str, recipe: Recipe, needs: dict):
        self.__name__ = name
        self.func = REWARDS[name]
        self.recipe = recipe
        self.needs = needs

    def __call__(self, completions, **columns) -> list[float | None]:
        if self.recipe.opened:
            completions = [self.recipe.with_opening(text) for text in texts(completions)]
        return self.func(completions=completions, **self.needs, **columns)

    @property
    def asks_for(self) -> list[str]:
        """Its parameters without a default, other than those that the recipe gives."""
        found = []
        for name, parameter in inspect.signature(self.func).parameters.items():
            required = parameter.default is parameter.empty
            if required and parameter.kind != parameter.VAR_KEYWORD and name not in self.needs:
                found.append(name)
        return found


def columns_of(recipe: Recipe) -> list[str]:
    """The columns of a row that the recipe's rewards ask for, beside what always comes."""
    functions, _ = reward_functions(recipe)
    asked = [name for function in functions for name in function.asks_for]
    for name in asked:
        if name in ("prompt", "completion"):
            raise ValueError(f"A reward asks for {name!r}.\nIt gets {name}s, all of them at once.")
    return [name for name in dict.fromkeys(asked) if name not in GIVEN]


def columns(examples: Sequence[Example]) -> dict[str, list]:
    """What rewards get of the examples beside the answers, as TRL gives it: a list a column."""
    found = {"id": [example.id for example in examples]}
    for name in examples[0].columns:
        found[name] = [example.columns[name] for example in examples]
    return found


def reward_table(
    recipe: Recipe, completions: Sequence[str], answers: Sequence[str], **more
) -> dict[str, list[float]]:
    """Each reward of the recipe, and their weighted `total`: lists of one number a completion.

    A reward that asks for what is not given, such as token ids, is left out.
    Raises ValueError for a reward that does not return one number, or None, a completion.
    """
    functions, weights = reward_functions(recipe)
    table = {}
    total = [0] * len(completions)
    for function, weight in zip(functions, weights, strict=True):
        name = function.__name__
        if not {"completions", "answer", *more}.issuperset(function.asks_for):
            continue
        table[name] = paid_by(function, completions=completions, answer=answers, **more)
        check_paid(name, table[name], len(completions), recipe.span(name))
        for number, reward in enumerate(table[name]):
            total[number] += weight * (reward or 0.0)
    return table | {"total": total}


def paid_by(function: Paid, **columns) -> list[float | None]:
    """What a reward returns. Raises ValueError that says where it failed, if it raises."""
    try:
        return function(**columns)
    except Exception as error:
        frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
        cure = f"See line {line} of {frame.f_code.co_filename}."
        if frame.f_code is Paid.__call__.__code__:  # the reward itself was not begun
            cure = "Let its parameters end with **_: it gets more than it asks for."
        what = f"{function.__name__} raised {type(error).__name__}: {error}"
        raise ValueError(f"{what}\n{cure}") from error


def check_paid(name: str, rewards, count: int, span: tuple[float, float]) -> None:
    """Raises ValueError unless these are `count` numbers in a span, or None."""
    cure = "A reward returns a list: one number, or None, a completion."
    if not isinstance(rewards, list) or len(rewards) != count:
        what = f"{len(rewards)} values" if isinstance(rewards, list) else type(rewards).__name__
        raise ValueError(f"{name} returned {what} for {count} completions.\n{cure}")
    for reward in rewards:
        if reward is None:
            continue
        if not isinstance(reward, Real) or not math.isfinite(reward):
            raise ValueError(f"{name} returned {reward!r:.80} for a completion.\n{cure}")
        if not min(span) - NEAR <= reward <= max(span) + NEAR:
            what = f"{name} returned {reward:g}; by the recipe it pays {span[0]:g} to {span[1]:g}"
            cure = f"Pay within that, or set its range in shaping={{{name!r}: (…, …)}}."
            raise ValueError(f"{what}.\n{cure}")


def written(recipe: Recipe, example: Example) -> str:
    """A right reply in the recipe's format; without a solution to learn from, with bare steps."""
    if recipe.sft and example.solution:
        return recipe.format.write(example.solution, example.answer)
    steps = [f"Step {number}" for number in range(1, STEPS + 1)]
    return recipe.format.write("\n".join(steps), example.answer)


def group_advantages(rewards: Sequence[float], group: int) -> np.ndarray:
    """GRPO's advantages: (r − mean of its group) / (std of its group + 1e-4), std with n − 1.

    rewards: shape (groups × group,), a group's members side by side. Returns the same shape. A
    group of equal rewards gets zeros: it teaches nothing. Source: DeepSeekMath (Shao et al., 2024),
    section 4.1.

    >>> group_advantages([1, 0, 0, 1, 1, 1, 1, 1], group=4).round(2).tolist()
    [0.87, -0.87, -0.87, 0.87, 0.0, 0.0, 0.0, 0.0]
    """
    groups = np.reshape(np.asarray(rewards, dtype=float), (-1, group))
    mean = groups.mean(axis=1, keepdims=True)
    spread = groups.std(axis=1, ddof=1, keepdims=True)
    return ((groups - mean) / (spread + 1e-4)).reshape(-1)
