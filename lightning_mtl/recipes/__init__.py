"""Recipes: programs to run, read from top to bottom, copy and change. `python -m lightning_mtl.recipes` lists them."""
