"""Settings of the whole suite: no network, one thread, no display."""

import os

from hypothesis import HealthCheck, settings

os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", OMP_NUM_THREADS="1", MPLBACKEND="Agg", TOKENIZERS_PARALLELISM="false"
)

# A busy machine is not a failing test, and the same examples every time make a red suite repeatable.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
