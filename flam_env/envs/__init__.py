"""Learned worlds as environments: who moves what, what is rewarded, and the faces of Gymnasium."""
