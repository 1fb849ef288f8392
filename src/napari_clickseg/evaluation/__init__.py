"""The published click benchmarks: data sets, simulated clicks, figures, report.

Modules
-------
datasets
    Where images and masks lie on disk, and which pixels are the object.
simulate
    The simulated annotator: where the next click goes, and the score so far.
options, methods, baselines
    What is evaluated: a model with several refinements, classical methods.
protocol
    One object, clicked until the goal or so many times as all others.
benchmark, processes, runlog
    Runs the annotator against the methods, in parallel, and resumes.
metrics, curves
    Number of clicks, IoU per click, seconds per click; area under the curve.
report, plots
    CSV, JSON, Markdown and plots of a finished run.
tuning
    Which step size suits a refinement of a model.
task_datasets, references, annotators, task_protocol, task_curves
    The same for classes, alpha mattes and depths; their scores are in
    semantic_metrics, matting_metrics and depth_metrics.
"""
