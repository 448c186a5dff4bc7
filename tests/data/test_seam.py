"""Chat templates and tokenizers of other families: mended and said, or refused in two lines."""

from dataclasses import replace

import pytest

from helpers import data, training
from helpers.recipes import RECIPES, for_model
from helpers.rows import Example
from helpers.tiny import TINY_MODEL
from tests.data import chat_models

GOES_THROUGH = {
    "opens_thinking": "opens <think>",
    "refuses_system": "takes no system turn",
    "drops_system": "takes no system turn",
    "without_end_of_turn": "ends no turn",
    "pads_with_the_end": "<|endoftext|> pads",
    "of_another_family": "<|reserved_special_token_0|> pads",
    "begins_by_itself": "",
}
REFUSED = {
    "without_tokenizer": "no tokenizer that works",
    "without_its_tokens": "no tokenizer that works",
    "without_template": "no chat template",
    "without_padding": "no token to pad with",
    "loses_the_question": "loses the instruction or the question",
    "thinking_is_special": "does not give back the format",
}


def seam_of(name: str, recipe: str, folder):
    """(seam, tokenizer) of such a model."""
    model = chat_models.build(name, folder)
    tokenizer = data.load_tokenizer(model)
    return data.fit(for_model(RECIPES[recipe], True, "cpu"), tokenizer, model), tokenizer


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("name", "said"), GOES_THROUGH.items())
def test_a_right_reply_is_paid_in_full(name, said, recipe, tmp_path):
    """What is learned after the prompt, decoded as TRL decodes a reply, earns the maximum."""
    seam, tokenizer = seam_of(name, recipe, tmp_path / "model")
    recipe = seam.recipe
    assert [said in line for line in seam.mended] == [True] * bool(said)
    steps = "\n".join(f"Step {number}" for number in range(1, 7))
    example = Example("a", "How many are 3 and 4?", steps, "7")
    [row] = data.sft_dataset(recipe, tokenizer, [example])
    learned = [token for token in row["labels"] if token != -100]
    prompt = data.prompt_text(recipe, tokenizer, example.question)
    asked = tokenizer.apply_chat_template(  # as GRPOTrainer asks
        data.messages(recipe, example.question),
        add_generation_prompt=True,
        return_dict=True,
        enable_thinking=recipe.thinking,
    )["input_ids"]
    assert row["input_ids"] == asked + learned == data.tokens_of(tokenizer, [prompt])[0] + learned
    assert recipe.system in prompt and example.question in prompt
    end = learned.index(tokenizer.eos_token_id)
    assert tokenizer.pad_token_id not in row["input_ids"]
    text = tokenizer.decode(learned[:end], skip_special_tokens=True)
    paid = training.reward_table(recipe, [text], ["7"], prompts=[data.messages(recipe, "")])
    assert paid["total"] == [pytest.approx(recipe.maximum)]
    assert recipe.format.follows(recipe.with_opening(text))


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_the_rest_is_refused_in_two_lines(name, said, tmp_path):
    with pytest.raises(ValueError, match=said) as caught:
        seam_of(name, "dapo_think", tmp_path / "model")
    assert str(caught.value).count("\n") == 1


def test_a_box_in_an_open_thinking_part_is_no_answer(tmp_path):
    recipe = seam_of("opens_thinking", "dapo_think", tmp_path / "model")[0].recipe
    cut, whole = r"perhaps \boxed{7}", "so\n</think>\n\n" + r"It is \boxed{7}."
    assert recipe.format.extract(recipe.with_opening(cut)) is None
    assert recipe.format.extract(recipe.with_opening(whole)) == "7"
    paid = training.reward_table(recipe, [cut, whole], ["7", "7"])
    assert paid["accuracy_reward"] == [0.0, 1.0] and paid["format_reward"] == [0.0, 1.0]


def test_a_reply_needs_room(recipe):
    short = replace(recipe, grpo=replace(recipe.grpo, max_completion=8))
    with pytest.raises(ValueError, match="GRPO's replies have 8"):
        data.fit(short, data.load_tokenizer(str(TINY_MODEL)))
