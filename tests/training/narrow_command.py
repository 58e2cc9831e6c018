"""The command line with a net as small as it can be, for processes that a launcher starts: what it trains is theirs."""

import gc
import runpy
from functools import partial

# Most of what is made is imported, and stays.
gc.disable()

from fewlabels.nets import registry  # noqa: E402
from fewlabels.nets.fast import FastNet  # noqa: E402

if __name__ == "__main__":
    registry._ENCODERS["fast"] = partial(FastNet, widths=(4,))
    runpy.run_module("fewlabels", run_name="__main__", alter_sys=True)
