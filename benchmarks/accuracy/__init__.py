"""How well Offbeat detects, by other people's judges, on data that nobody here made: `make bench-accuracy`.

In: the folder of labelled data (`../shared/data`, or OFFBEAT_DATA). Out: `benchmarks/results/accuracy.md`,
`.json` and `.csv`: ours, each published figure and the trivial baselines, for one default and no test
label. One module a suite; `suites.py` lists them. What is computed is kept in `.bench/`, so that a killed
run goes on.
"""
