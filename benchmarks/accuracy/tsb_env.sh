#!/usr/bin/env bash
# Makes the environment that TSB-AD's evaluator judges in: tsb_env.sh [FOLDER], .bench/tsb when left out.
# TSB-AD comes without its dependencies: they bring CUDA's PyTorch, and the evaluator needs none of it.
set -euo pipefail
folder="${1:-.bench/tsb}"
test -x "$folder/bin/python" && "$folder/bin/python" -c 'import TSB_AD.evaluation.basic_metrics' 2>/dev/null && exit 0
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet 'numpy==1.26.4' 'scikit-learn==1.7.2' 'scipy==1.17.1' 'statsmodels==0.15.0' \
  'pandas==2.3.3' 'pyarrow==19.0.1'
"$folder/bin/pip" install --quiet --no-deps 'TSB-AD==1.5'
"$folder/bin/python" -c 'import TSB_AD.evaluation.basic_metrics, TSB_AD.utils.slidingWindows'
