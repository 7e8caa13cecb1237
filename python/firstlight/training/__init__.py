"""How the models that come with the package are made, from simulated images or from those of a user."""
