import pytest

from tests._helpers.mcu_models import SHARED
from tfharden.errors import InputError
from tfharden.export.mcu.operators import SUPPORTED, method, methods
from tfharden.tflite import ops, read


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("ADD", "AddAdd"),
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("FULLY_CONNECTED", "AddFullyConnected"),
        ("MAX_POOL_2D", "AddMaxPool2D"),
        ("L2_POOL_2D", "AddL2Pool2D"),
        ("RELU6", "AddRelu6"),
        ("ADD_N", "AddAddN"),
        ("SPLIT_V", "AddSplitV"),
        ("SPACE_TO_BATCH_ND", "AddSpaceToBatchNd"),
        ("PADV2", "AddPadV2"),
        ("CUMSUM", "AddCumSum"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
    ],
)
def test_method(operator, expected):
    assert method(operator) == expected


def test_every_supported_operator_is_one_that_files_may_have():
    assert set(ops.KNOWN) >= SUPPORTED
    assert len(methods(SUPPORTED)) == len(SUPPORTED)


def test_real_files_have_methods():
    if not SHARED.is_dir():
        pytest.skip("the folder shared/models beside the repository is absent")
    files = [read(path) for path in SHARED.glob("*.tflite")]
    assert files
    for file in files:
        assert len(methods(file.operators)) == len(file.operators)


def test_missing_operators_are_named():
    with pytest.raises(InputError, match="the operator GELU"):
        method("GELU")
    with pytest.raises(InputError, match="GELU, TILE") as error:
        methods(["TILE", "CONV_2D", "GELU"])
    assert "CONV_2D" not in str(error.value)
