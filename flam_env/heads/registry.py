"""The classes of networks that can be heads of a world, by the name that their files give."""

from flam_env.worlds.checkpoint import Kinds

HEADS = Kinds("head")
"""Who adds a head registers its class by importing its module."""
