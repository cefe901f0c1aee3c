"""How fast the losses and the train step are, against other libraries and against the machine.

``python -m benchmarks`` runs every row, ``python -m benchmarks huber "train step"`` some of them.
A library that is not installed is left out; a contestant with another result stops the run.

Files: ``libraries`` says the same loss in each library, ``rows`` names the losses and shapes,
``steps`` the train steps, ``contestants`` makes things to be timed from functions, ``timing`` times
them, and ``report`` prints and writes what came out.

``python -m benchmarks convergence`` is another thing: how early, how late and how often rules stop.
Files: ``curves`` and ``unseen`` simulate losses, ``real`` trains, ``stopping`` has the rules,
``limits`` says what no rule can do, and ``convergence`` counts. What came out is in ``results``.
"""
