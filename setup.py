"""Package metadata; the build system and the tools' settings are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

# It has development versions only, which installers pass over unless one is named; wheels for Linux on x86-64.
MICRO = 'tflite-micro==0.dev20261023182759; sys_platform == "linux" and platform_machine == "x86_64"'
QUANTIZER = "ai-edge-quantizer>=0.10,<0.11"
ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "tfharden" / "__init__.py").read_text(), re.MULTILINE)[1]
TOOLS = ("harden", "distill", "compress", "export", "mcu", "evaluate", "pipeline")

setup(
    name="tfharden",
    version=VERSION,
    description="Harden Keras 3 image classifiers, compress them without losing the hardening, attack the TFLite file",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["tfharden", "tfharden.*"]),
    # Named, so that an editable install is a plain path: a folder called tfharden beside the user never hides it.
    package_dir={"": "."},
    package_data={
        "*": ["*.pyi"],
        "tfharden": ["py.typed"],
        "tfharden.evaluation.report": ["*.html.j2"],
        "tfharden.export.mcu": ["templates/**/*.j2"],
    },
    install_requires=[
        "tensorflow>=2.21,<2.22",
        "keras>=3.15,<3.16",
        "tensorflow-model-optimization>=0.8.1,<0.9",
        "ai-edge-litert>=2.3,<2.4",
        "flatbuffers>=25.9,<26",
        "numpy>=2.1,<3",
        "absl-py>=1.4,<3",
        "lazy_loader>=0.6,<0.7",
        "scikit-learn>=1.6,<2",
        "scipy>=1.14,<2",
        "threadpoolctl>=3.1,<4",
        "matplotlib>=3.10,<4",
        "Jinja2>=3.1,<4",
    ],
    extras_require={
        "test": [
            "pytest>=8,<10",
            "pytest-xdist>=3.8,<4",
            "ruff>=0.17,<0.18",
            "mypy==2.4.1",
            "foolbox==3.3.4",
            "tensorboard>=2.20,<3",
            MICRO,
            QUANTIZER,
        ],
        # Measures the arena of MCU kits and checks their golden vectors.
        "micro": [MICRO],
        # The recipes aeq-int8, aeq-dynamic and aeq-weight-only of an export; it pins ai-edge-litert to one version.
        "quantizer": [QUANTIZER],
        # For keras.callbacks.TensorBoard, --tensorboard_dir of the tools.
        "tensorboard": ["tensorboard>=2.20,<3"],
        # Peers, for benchmarks/.
        "bench": [
            "foolbox==3.3.4",
            "adversarial-robustness-toolbox==1.20.1",
            "cleverhans==4.0.0",
            "torch==2.13.0",
            "torchattacks==3.5.1",
        ],
    },
    entry_points={"console_scripts": [f"tfharden-{tool} = tfharden.cli.{tool}:run" for tool in TOOLS]},
)
