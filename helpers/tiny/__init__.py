"""The embedded base model: its generated problems, what it reads before training, its maker, its weights (`model/`)."""
