"""Scenes of known truth and checks of what `firstlight process` makes of them."""
