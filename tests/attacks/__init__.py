"""Attacks on live viewing. Each really tries, and tells what it got through with.

Every attack is run twice: against the house as it is, where nothing may get through, and against a house without the
one guard that is meant to stop it (its `seed`), where all of it must. So an attack that proves nothing is found out.
A hole that is known stands here as an attack with `hole`, which fails strictly until it is mended.
"""
