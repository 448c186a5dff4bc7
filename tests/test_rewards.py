"""What GRPO pays: labelled texts, cheats, golds."""

import dataclasses
import math
import pickle

import pytest

from helpers.data import Split
from helpers.recipes import RECIPES, get_recipe
from helpers.rows import Example
from helpers.training import REWARDS, check_golds, reward_functions, reward_table

GOOD = "<reasoning>\n3 + 4 = 7\n</reasoning>\n<answer>\nThe final answer is 7.\n</answer>"


@pytest.mark.parametrize(
    ("text", "strict", "soft", "count", "right"),
    [
        (GOOD, 1, 1, 1, 1),
        (GOOD.replace("7.\n", "8.\n"), 1, 1, 1, 0),
        (GOOD.replace("\n", " "), 0, 1, 1, 1),
        ("3 + 4 = 7", 0, 0, 0, 1),
        ("", 0, 0, 0, 0),
        ("<reasoning>3 + 4 = 7</reasoning>", 0, 0, 0.5, 1),
        (GOOD + GOOD, 0, 0, 0, 1),
        ("<answer>7</answer><reasoning>x</reasoning>", 0, 0, 1, 1),
        ("<reasoning></reasoning><answer></answer>", 0, 0, 1, 0),
        (GOOD[:-9], 0, 0, 0.75, 1),
        (GOOD.replace("is 7.", "is 5, 6 or 7."), 0, 0, 1, 1),
    ],
)
def test_labelled_texts(text, strict, soft, count, right):
    for completion in (text, [{"role": "assistant", "content": text}]):
        columns = {"completions": [completion], "answer": ["7"], "prompts": ["p"], "unknown": 3}
        names = ("r_strict", "r_soft", "r_xmlcount", "r_correctness")
        assert [REWARDS[name](**columns)[0] for name in names] == [strict, soft, count, right]


def test_form_weighs_as_much_as_the_number(recipe):
    replies = [GOOD, GOOD.replace("7.\n", "8.\n"), "7", ""]
    assert reward_table(recipe, replies, ["7"] * 4)["total"] == [2.0, 1.0, 1.0, 0.0]
    assert recipe.maximum == 2.0


@pytest.mark.parametrize("name", RECIPES)
def test_functions_follow_trl_s_contract(name):
    recipe = get_recipe(name)
    functions, weights = reward_functions(recipe)
    again = pickle.loads(pickle.dumps(functions))
    assert [function.__name__ for function in again] == list(recipe.rewards)
    assert weights == list(recipe.rewards.values())
    columns = {"completions": ["x", "y"], "answer": ["1", "2"], "prompts": ["p", "q"]}
    assert all(len(function(**columns, unknown=3)) == 2 for function in again)


def test_a_reward_that_does_not_exist_is_named(recipe):
    other = dataclasses.replace(recipe, rewards={"r_strict": 1.0, "r_stirct": 1.0})
    with pytest.raises(ValueError, match="gsm8k_xml pays for 'r_stirct'.*\nThe rewards are: r_str"):
        reward_functions(other)


def test_penalties(recipe):
    """They are left out where a text alone is judged; the length's knows the recipe's limit."""
    paid = dataclasses.replace(recipe, rewards={"r_strict": 1.0, "r_length": 1.0, "r_repeat": 1.0})
    assert reward_table(paid, [GOOD], ["7"]) == {"r_strict": [1.0], "total": [1.0]}
    limit = recipe.grpo.max_completion
    ids = [list(range(limit)), list(range(limit // 2)), [1, 2, 3] * 10]
    [_, length, repeat], _ = reward_functions(paid)
    assert pickle.loads(pickle.dumps(length))([""] * 3, completion_ids=ids) == [-1.0, 0.0, 0.0]
    fresh, _, repeating = repeat([""] * 3, completion_ids=ids)
    assert fresh == 0 > repeating
    table = reward_table(paid, [GOOD] * 3, ["7"] * 3, completion_ids=ids)
    assert table["total"] == [0.0, 1.0, 1.0 + repeating]
    near = [list(range(95))]
    assert REWARDS["r_length"]([""], completion_ids=near, max_completion_length=100) == [-0.75]


def rows(*answers) -> Split:
    found = []
    for place, answer in enumerate(answers):
        found.append(Example(str(place), "q", "so", answer, {"level": place}))
    return Split(found, {"before": 1})


def test_rows_whose_gold_does_not_earn_everything_are_left_out(recipe, capsys):
    kept = check_golds(recipe, rows("7", "seven", "1,234", "2 dozen"))
    assert [example.answer for example in kept.examples] == ["7", "1,234"]
    reason = "2 with an answer for which r_correctness does not pay 1"
    assert kept.left_out == f"1 before, {reason}"
    assert capsys.readouterr().out == f"golds     left out: {reason}\n"
    assert REWARDS["r_correctness"]([GOOD], answer=["seven"]) == [None]  # which TRL leaves out


def level(completions, level, **_):
    """Up to 10, by a column of the row."""
    return [float(value) for value in level]


def brevity(completions, **_):
    return [-len(text) / 100 for text in completions]


def one_for_all(completions, **_):
    return [1.0]


def a_number(completions, **_):
    return 1.0


def words(completions, **_):
    return ["good" for _ in completions]


def not_a_number(completions, **_):
    return [math.nan for _ in completions]


def broken(completions, **_):
    return [1 / 0 for _ in completions]


def without_more(completions):
    return [1.0 for _ in completions]


class Object:
    """A reward with a state, say."""

    __name__ = "an_object"

    def __call__(self, completions, **_):
        return [1 / 0 for _ in completions]


@pytest.mark.parametrize(
    ("own", "shaping", "bounds", "said"),
    [
        (level, {"level": (0, 10)}, (0.0, 6.0), ""),
        (brevity, {"brevity": (-2, 0)}, (-1.0, 1.0), ""),
        (level, {}, None, ""),
        (brevity, {}, None, "^brevity returned -0.* by the recipe it pays 0 to 1.*shaping={"),
        (brevity, {"brevity": (-0.1, 0)}, None, "^brevity returned -0.* it pays -0.1 to 0.\n"),
        (brevity, {"brevity": 0}, None, "has 0 as the shaping of brevity.\nGive the least and"),
        (brevity, {"brevty": (-1, 0)}, None, "a shaping of 'brevty', which it does not pay for"),
        (Object(), {}, None, "^an_object raised ZeroDivisionError: .*\nSee line .* of "),
        (without_more, {}, None, r"unexpected keyword.*\nLet its parameters end with \*\*_"),
        (one_for_all, {}, None, "^one_for_all returned 1 values for 2 completions.\n.*a list"),
        (a_number, {}, None, "^a_number returned float for 2 completions.\n"),
        (words, {}, None, "^words returned 'good' for a completion.\n"),
        (not_a_number, {}, None, "^not_a_number returned nan for a completion.\n"),
        (
            broken,
            {},
            None,
            "^broken raised ZeroDivisionError: .*\nSee line .* of .*test_rewards.py.$",
        ),
    ],
)
def test_rewards_of_one_s_own(own, shaping, bounds, said, recipe, monkeypatch):
    name = own.__name__
    monkeypatch.setitem(REWARDS, name, own)
    rewards = {"r_strict": 1.0, name: 0.5}
    paid = dataclasses.replace(recipe, rewards=rewards, shaping=shaping)
    if bounds:
        assert len(check_golds(paid, rows("7", "8")).examples) == 2
        assert paid.bounds == bounds and paid.maximum == bounds[1]
    elif name == "level":  # the second row's pays 1
        assert [e.answer for e in check_golds(paid, rows("7", "8")).examples] == ["8"]
    else:
        with pytest.raises(ValueError, match="(?s)" + said):
            check_golds(paid, rows("7", "8"))


def test_where_every_row_is_held_out_it_is_said(recipe):
    with pytest.raises(ValueError, match="no row to learn from: the only one is held out.\nAdd"):
        check_golds(recipe, Split([], {}))


STEPS = "\n".join(f"Step {n}: add 3." for n in range(1, 7))
# Replies to a question whose answer is 18: it stands in none of them as a format asks.
QUESTION = "Tom has 18 eggs. How many are three more than 15?"
HASHED = [f"{STEPS} It is 18.", "so\n#### 17\n#### 18", "so\n#### 16, 17, 18", "#### " * 20 + "18"]
HASHED += ["<think>so\n#### 18", "so\n####", "so\n#### 18=18", QUESTION]
BOXED = [f"{STEPS} It is 18.", r"\boxed{17} or \boxed{18}", r"\boxed{17}, \boxed{18}", QUESTION]
BOXED += [r"\boxed{}" * 20, r"\boxed{" * 20, r"so \boxed{18"]
FORMED = (r"so \boxed{16,17,18}", r"so \boxed{16 \text{ or } 18}", r"so \boxed{18=18}")
UNCLOSED = r"<think>so \boxed{18}"
THOUGHT = [f"<think>so</think> {text}" for text in (*BOXED, *FORMED)]
THOUGHT += [f"<think>{STEPS} \\boxed{{18}}</think> Done.", "<think></think>" * 9 + r"\boxed{"]
CHEATS = {
    "gsm8k_hash": HASHED,
    "openr1_boxed": [*BOXED, *FORMED, UNCLOSED],
    "dapo_think": [*THOUGHT, UNCLOSED, QUESTION],
    "phybench_eed": [*BOXED, *FORMED, UNCLOSED],
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_earn_nothing(name):
    recipe = get_recipe(name)
    for text in [*CHEATS[name], recipe.system]:
        table = reward_table(recipe, [text], ["18"], prompts=[recipe.system])
        assert table["accuracy_reward"] == [0.0], text
        if not text.endswith(FORMED):
            assert table.get("format_reward", [0.0]) == [0.0], text


TAGGED = ["<reasoning>It is 18.</reasoning>", "<reasoning>x</reasoning><answer>17 or 18</answer>"]
TAGGED += ["<reasoning>x</reasoning><answer>18", "<think>18", "<answer>" * 9 + "18"]
TAGGED += ["<reasoning>x</reasoning><answer>17</answer><answer>18</answer>"]
TAGGED += ["<reasoning>x</reasoning><answer>18=18</answer>"]


def test_cheats_with_tags_never_earn_the_form_or_count_as_answers(recipe):
    """The published reward for the last number stands apart: it pays wherever the number is."""
    table = reward_table(recipe, TAGGED, ["18"] * len(TAGGED))
    assert table["r_strict"] == table["r_soft"] == [0.0] * len(TAGGED)
    assert [recipe.format.extract(text) for text in TAGGED] == [None] * len(TAGGED)


@pytest.mark.parametrize(
    ("reply", "total"),
    [
        (STEPS.replace("add", "plus") + r" \boxed{mgh}", 1.0),
        (STEPS.replace("add", "plus") + r" \boxed{2mgh}", 0.5 + 0.5 * 0.35),
        (r"\boxed{mgh}", 0.7),
        (STEPS + r"\boxed{mgh}", 0.7),  # lines of the prompt are no reasoning
    ],
)
def test_weights_of_phybench_and_its_parts(reply, total):
    prompt = [{"role": "user", "content": STEPS}]
    table = reward_table(get_recipe("phybench_eed"), [reply], ["mgh"], prompts=[prompt])
    assert table["total"] == [pytest.approx(total)]


def test_a_reward_has_the_name_that_the_recipe_calls_it_by(recipe, monkeypatch):
    """Its function may be called otherwise; its range and its column in the logs are found."""

    def r_brief(completions, **_):
        return [-0.5] * len(completions)

    monkeypatch.setitem(REWARDS, "brief", r_brief)
    own = dataclasses.replace(recipe, rewards={"brief": 1.0}, shaping={"brief": (-1, 0)})
    assert [function.__name__ for function in reward_functions(own)[0]] == ["brief"]
    assert reward_table(own, ["a"], ["7"]) == {"brief": [-0.5], "total": [-0.5]}
    monkeypatch.setitem(REWARDS, "brief", lambda completions: [0.0])
    opened = dataclasses.replace(own, opened="<think>")
    with pytest.raises(ValueError, match="Let its parameters end with"):
        reward_table(opened, ["a"], ["7"], lines=[1])
