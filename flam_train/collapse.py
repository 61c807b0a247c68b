"""Recognises the ways in which latent action models fail silently, and names the likely cause."""

import warnings


class CollapseWarning(UserWarning):
    """A trained model computes, but part of it has stopped carrying information."""


def signs_of_collapse(health: dict[str, float], slots: int) -> list[str]:
    """One sentence for each sign of collapse.

    Args:
        health: as `flam_train.evaluate.rollouts.quick_scores` gives it.
        slots: K of the model.
    """
    signs = []
    if health["tokens_used"] < 3:
        signs.append(
            f"all frames are shown by {health['tokens_used']:.0f} tokens: codebook collapse of the tokenizer; train it "
            "again, for longer or with a smaller --fit-config.clip"
        )
    if health["nats_per_frame"] < 0.1 * slots:
        signs.append(
            f"latent actions carry {health['nats_per_frame']:.2f} nats per frame: posterior collapse; lower "
            "--loss.information-price or raise --loss.free-share"
        )
    elif health["active_slots"] < slots / 4:
        signs.append(
            f"only {health['active_slots']:.0f} of {slots} slots carry an action: the others found nothing to "
            "predict; fewer slots (--model.slots) or a lower --loss.information-price"
        )
    if health["slots_with_patches"] < slots / 4:
        signs.append(
            f"only {health['slots_with_patches']:.0f} of {slots} slots own patches: slot attention has merged the "
            "scene; train longer or lower --fit-config.learning-rate"
        )
    if health["accuracy_changed"] < 0.02 and health["accuracy_still"] > 0.99:
        signs.append("the model copies the current frame: it has not learned to predict change yet")
    return signs


def warn_of_collapse(health: dict[str, float], slots: int) -> None:
    """Issues a `CollapseWarning` for each sign."""
    for sign in signs_of_collapse(health, slots):
        warnings.warn(sign, CollapseWarning, stacklevel=2)
