"""Measures of rooms whose truth is known: do slots follow agents?"""
