"""The commands: a dataclass and ``run(config)`` each."""
