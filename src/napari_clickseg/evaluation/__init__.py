"""The published click benchmark: data sets, simulated clicks, figures, report.

Modules
-------
datasets
    Where images and masks lie on disk, and which pixels are the object.
simulate
    The simulated annotator: where the next click goes, and the score so far.
metrics
    Number of clicks, IoU per click, seconds per click.
benchmark
    Runs the annotator against a model, in parallel, and resumes.
baselines
    Classical methods driven by the same annotator.
report
    CSV, JSON, Markdown and plots of a finished run.
"""
