"""The seam between chat template, tokenizer and format, looked at before anything is trained.

A tag, the instruction or the end token that is not where the reward looks for it makes no error:
training goes on and teaches nothing. So one prompt is rendered by the tokenizer's own template, and
a right reply is put after it, as training does it. What is safe is mended, and said.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from helpers.data.prompts import prompt_text, template_end, tokens_of, turn_end
from helpers.machine import check_path
from helpers.recipes import Recipe

QUESTION, SOLUTION, ANSWER = "What is 9 + 9?", "9 + 9 = 18", "18"
PADDING = ("pad", "endoftext", "end_of_text", "reserved", "unused", "unk")  # in names of tokens
CURE = "Set MODEL to the chat or instruct version of the model, or to another model."


@dataclass(frozen=True)
class Seam:
    """One prompt and a right reply, as the model meets them, and the recipe that fits them."""

    recipe: Recipe
    prompt: str
    reply: str  # what is learned, with its end
    mended: tuple[str, ...]  # what was not as the recipe takes it to be, a line each


def load_tokenizer(name: str):
    """The tokenizer of a model's folder or Hub id. Raises ValueError if there is none."""
    from transformers import AutoTokenizer

    check_path(name, "model and no adapter", "config.json")
    reason = "it makes no tokens of a text"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        if tokens_of(tokenizer, [QUESTION])[0]:
            return tokenizer
    except (OSError, LookupError, TypeError, ValueError, AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:150]
    cure = "Put the tokenizer's files into its folder, or set MODEL to another folder or Hub id."
    if not Path(name).exists():
        cure = "Check the network and the id, or set MODEL to a local folder."
    raise ValueError(f"There is no tokenizer that works in {name} ({reason}).\n{cure}")


def settle_tokenizer(tokenizer, name: str = "this model") -> list[str]:
    """Makes the end of a chat turn the end token, and another token the padding; what was changed.

    Qwen's base models end and pad with the same `<|endoftext|>`: the end of a turn would not end a
    reply, and an end that is also padding is masked, so that the model never learns to stop.
    Raises ValueError where there is no chat template, no end or no padding.
    """
    if not tokenizer.chat_template:
        raise ValueError(f"The tokenizer of {name} has no chat template.\n{CURE}")
    mended = []
    end = turn_end(tokenizer)
    if not end:
        raise ValueError(f"The tokenizer of {name} has no token that ends a reply.\n{CURE}")
    if not template_end(tokenizer):
        mended.append(f"the chat template ends no turn: {end} is learned as the end of a reply")
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokens_of(tokenizer, [end])[0][0])
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = spare_token(tokenizer, name)
        mended.append(f"the end of a reply cannot be padding: {tokenizer.pad_token} pads")
    tokenizer.padding_side = "left"
    tokenizer.clean_up_tokenization_spaces = False  # else a reply is not read as it was written
    return mended


def spare_token(tokenizer, name: str) -> str:
    """A token that pads and means nothing else."""
    spare = set(tokenizer.get_added_vocab()) - {tokenizer.eos_token, tokenizer.bos_token}
    for part in PADDING:
        for token in sorted(spare):
            if part in token.lower():
                return token
    raise ValueError(f"The tokenizer of {name} has no token to pad with.\n{CURE}")


def fit(recipe: Recipe, tokenizer, name: str = "this model") -> Seam:
    """The recipe as this tokenizer's chat template needs it, proved on one right reply.

    Raises ValueError where instruction, question or reply do not come through.
    """
    recipe = replace(recipe, system_turn=True, opened="")
    mended = settle_tokenizer(tokenizer, name)
    prompt = rendered(recipe, tokenizer)
    if recipe.system.strip() not in prompt:
        recipe = replace(recipe, system_turn=False)
        prompt = rendered(recipe, tokenizer)
        mended.append("the chat template takes no system turn: the user's turn has the instruction")
    if recipe.system.strip() not in prompt or QUESTION not in prompt:
        what = "loses the instruction or the question"
        raise ValueError(f"The chat template of {name} {what}.\n{CURE}")
    behind = prompt.rpartition(QUESTION)[2]
    _, tag, rest = behind.rpartition("<think>")
    if tag and "</think>" not in rest:
        recipe = replace(recipe, opened=tag + rest)
        mended.append("the chat template opens <think>: each reply is read with it in front")
    written = recipe.format.write(SOLUTION, ANSWER)
    reply = recipe.write(SOLUTION, ANSWER) + turn_end(tokenizer)
    [ids] = tokens_of(tokenizer, [reply])
    end = ids.index(tokenizer.eos_token_id)
    read = recipe.with_opening(tokenizer.decode(ids[:end], skip_special_tokens=True))
    if read.strip() != written or recipe.format.extract(read) != ANSWER:
        what = f"does not give back the format of {recipe.name}: {written!r} comes back as {read!r}"
        raise ValueError(f"The tokenizer of {name} {what}.\nTake another MODEL or RECIPE.")
    if end >= recipe.grpo.max_completion:
        what = f"takes {end} tokens, and GRPO's replies have {recipe.grpo.max_completion}"
        cure = "Set MAX_COMPLETION to more."
        raise ValueError(f"The shortest right reply in the format of {recipe.name} {what}.\n{cure}")
    return Seam(recipe, prompt, reply, tuple(mended))


def rendered(recipe: Recipe, tokenizer) -> str:
    """The prompt of a question; "" where the template refuses it."""
    from jinja2 import TemplateError

    try:
        return prompt_text(recipe, tokenizer, QUESTION)
    except TemplateError:
        return ""
