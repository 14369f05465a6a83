from .format.verifier import check as check
from .model import TensorSpec as TensorSpec
from .model import TFLiteFile as TFLiteFile
from .model import parse as parse
from .model import read as read
from .runtime import KERNELS as KERNELS
from .runtime import Runtime as Runtime
from .twin import Twin as Twin
