"""The recipes side by side, in words, from the same data that the runs use."""

from __future__ import annotations

from helpers.recipes import ALL_PROJECTIONS, RECIPES, SUPERVISED, Recipe, SFTSettings


def table() -> dict[str, dict[str, str]]:
    """The recipes side by side, in words: name of the recipe → what → value. README and notebook 01 show this table."""
    return {name: summary(recipe) for name, recipe in RECIPES.items()}


def summary(recipe: Recipe) -> dict[str, str]:
    """One column of the overview."""
    lora, grpo = recipe.lora, recipe.grpo
    targets = "7 projections" if lora.targets == ALL_PROJECTIONS else " and ".join(lora.targets)
    length = (
        f"{grpo.steps} steps" if grpo.steps else f"{grpo.epochs:g} epoch{'s' * (grpo.epochs != 1)}"
    )
    return {
        "base model": recipe.model,
        "data": " ".join(
            filter(None, (recipe.source.path, recipe.source.config, recipe.source.files))
        ),
        "licence of the data": recipe.source.licence,
        "stages": " → ".join(recipe.stages),
        "thinking mode": "on" if recipe.thinking else "off",
        "answer format": recipe.format.name,
        "rewards": " + ".join(f"{weight:g} {name}" for name, weight in recipe.rewards.items()),
        "score": recipe.score.__name__,
        "LoRA": f"{'4-bit' if lora.load_in_4bit else '16-bit'}, r {lora.r}, {targets}",
        **{stage: supervised_words(getattr(recipe, stage)) for stage in SUPERVISED},
        "grpo": f"{grpo.batch} completions a step in groups of {grpo.generations}, lr {grpo.learning_rate:g}, {grpo.schedule}, {length}",
        "KL beta / epsilon / temperature": f"{grpo.beta:g} / {grpo.epsilon:g} / {grpo.temperature:g}",
        "prompt / completion tokens": f"{grpo.max_prompt} / {grpo.max_completion}",
    }


def supervised_words(part: SFTSettings | None) -> str:
    if part is None:
        return "none"
    rows = f" of the {part.rows} shortest" if part.rows else ""
    return f"{part.batch} rows a step, lr {part.learning_rate:g}, {part.schedule}, {part.epochs:g} epoch{'s' * (part.epochs != 1)}{rows}"
