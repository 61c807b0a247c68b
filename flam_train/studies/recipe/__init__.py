"""Worlds out of packs where a machine is there for minutes: trained side by side, scored, and packed up."""
