"""The networks of a Factored Latent Action World Model.

Axis legend of the whole project, used in every shape below::

    B batch   T time   H W pixels   C channels   N patches   L quantiser levels (dimensions of a code)
    D feature dim   K slots   S slot dim   A latent-action dim   I slot-attention iterations

Frames inside are float CHW in [0, 1]; `flam_env.video.frames` is the door to uint8 HWC.
"""
