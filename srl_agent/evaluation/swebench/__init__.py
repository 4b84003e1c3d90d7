"""SWE-bench: a model writes patches, the swebench harness judges them.

In the order in which a run uses them:

* ``config``: what can be set; ``run``: the run from settings to report, the file to
  start reading in.
* ``instances``: rows -> instances; ``builtin``: the project's own tasks as rows;
  ``repositories``, ``image_repository``: files at an instance's commit.
* ``patch_writer``: asks the model, with the help of ``localize`` (which files),
  ``model_budget`` and ``prompt_budget`` (how much of them), ``prompts`` (the words) and
  ``repair`` (question for edits, and patch of an answer); ``given_patches``: patches
  that are there already.
* ``path_lines``, ``parse_edits``, ``apply_edits``, ``make_patch``, ``read_patch``:
  answer -> edits -> files -> patch -> what a patch says.
* ``judging``: verdicts beside the writing; ``harness``, ``harness_worker``: the real
  harness in processes of its own; ``judgement``: what it says of a patch.
* ``records``: what is kept as soon as it is there; ``samples``: what it says of an
  instance's samples; ``results``, ``tables``, ``page``: figures, tables, and the page to
  read.
"""
