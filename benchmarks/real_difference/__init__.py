"""Real images as tests of difference imaging, one module each."""
