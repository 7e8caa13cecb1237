"""A simulated sky, telescope and camera with known truth, independent of the code it tests."""
