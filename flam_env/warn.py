"""Warnings that show the line of the user who caused them."""

import sys
import warnings

PASSED = ("flam_env", "flam_train", "baselines", "gymnasium", "torch", "tyro")
"""Packages whose lines are nobody's own: ours, and those that stand between us and who called."""


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the innermost line that is in none of the packages passed over, however deep below it we are."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PASSED:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
