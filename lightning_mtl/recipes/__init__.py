"""Recipes: modules that run, to be read from top to bottom, copied and changed. `python -m lightning_mtl.recipes` lists them."""
