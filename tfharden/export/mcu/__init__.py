"""MCU kit: a .tflite as C++ sources for tflite-micro, with what it needs, and answers to check it by."""

from tfharden.export.mcu.arena import Arena, measure
from tfharden.export.mcu.kit import Kit, mcu_kit

__all__ = ["Arena", "Kit", "mcu_kit", "measure"]
