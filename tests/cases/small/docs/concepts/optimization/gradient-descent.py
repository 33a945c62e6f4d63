"""Checks of the page on gradient descent."""


def check_gd_step() -> None:
    """One step on a parabola goes down."""
    theta = 1.0 - 0.1 * 2.0
    assert theta**2 < 1.0
