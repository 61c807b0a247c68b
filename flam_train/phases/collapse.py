"""Recognises the ways in which latent action models fail silently, and names the likely cause."""

from flam_env.warn import warn_user


class CollapseWarning(UserWarning):
    """A trained model computes, but part of it has stopped carrying information."""


def signs_of_collapse(health: dict[str, float], slots: int, infers: bool = True) -> list[str]:
    """One sentence for each sign of collapse. That few slots decide is none: in many scenes few do.

    Args:
        health: as `flam_train.evaluate.rollouts.quick_scores` gives it.
        slots: K of the model.
        infers: whether the model infers latent actions.
    """
    signs = []
    if health["tokens_used"] < 3:
        signs.append(
            f"all frames are shown by {health['tokens_used']:.0f} tokens: codebook collapse of the tokenizer; train it "
            "again, for longer or with a smaller --fit-config.clip"
        )
    if infers and health["active_slots"] < 1:
        signs.append(
            f"latent actions carry {health['nats_per_frame']:.2f} nats per frame and no slot's carry .1: posterior "
            "collapse; lower --loss.information-price or raise --loss.free-share"
        )
    if health["slots_with_patches"] < slots / 4:
        signs.append(
            f"only {health['slots_with_patches']:.0f} of {slots} slots own patches: slot attention has merged the "
            "scene; train longer or lower --fit-config.learning-rate"
        )
    if health["accuracy_changed"] < 0.02 and health["accuracy_still"] > 0.99:
        signs.append("the model copies the current frame: it has not learned to predict change yet")
    return signs


def warn_of_collapse(health: dict[str, float], slots: int, infers: bool = True) -> None:
    """Issues a `CollapseWarning` for each sign."""
    for sign in signs_of_collapse(health, slots, infers):
        warn_user(sign, CollapseWarning)
