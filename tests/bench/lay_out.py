"""The process that bench_modules measures: all that a load learns from each file, and no more."""

import sys

from loader.config import Config
from loader.engine.threads import LiveKernel

XZ = 4  # MODULE_INIT_COMPRESSED_FILE

engine = LiveKernel(Config(compression="xz"))
for path in sys.argv[1:]:
    print(engine.image(path, XZ if path.endswith(".xz") else 0).layout.total)
