"""Generators as plain ``nn.Module``s; each states its halo and the sizes it takes."""
