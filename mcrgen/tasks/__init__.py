"""LightningModules: how each model is trained."""
