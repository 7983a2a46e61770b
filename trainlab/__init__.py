__version__ = "0.1.0"

import warnings

warnings.filterwarnings('ignore', message='`torch.jit.script` is deprecated')   # fastai scripts a function when it is imported
