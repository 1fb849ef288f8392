"""Backpropagating refinement: change features, not weights, until clicks are obeyed.

f-BRS (Sofiiuk et al., CVPR 2020) and G-BRS (Lin et al., CVPR 2022), for any torch
module.
"""
