import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import tfharden as th
from tests._helpers.hostile_files import file, options
from tfharden import tflite
from tfharden.errors import InputError
from tfharden.tflite import memory, shapes

IMAGE, ROW = ((1, 8, 8, 1), np.float32), ((1, 64), np.float32)
FLAT = ("RESHAPE", "made flat", "out", options("ReshapeOptions"))


def window(size):
    """A pool of 8x8 images with a window of size x size."""
    pool = options("Pool2DOptions", strideW=1, strideH=1, padding=0, filterWidth=size, filterHeight=size)
    tensors = {"in": IMAGE, "made": IMAGE, "flat": np.array([1, 64], np.int32), "out": ROW}
    return file(tensors, [("MAX_POOL_2D", "in", "made", pool), FLAT], "in", "out")


def convolved(size, filters):
    """A convolution of size x size images with a 31x31 window."""
    convolution = options("Conv2DOptions", strideW=1, strideH=1, padding=0, dilationWFactor=1, dilationHFactor=1)
    tensors = {
        "in": ((1, size, size, 1), np.float32), "weights": np.zeros((filters, 31, 31, 1), np.float32),
        "bias": np.zeros(filters, np.float32), "made": ((1, size, size, filters), np.float32),
        "flat": np.array([1, size * size * filters], np.int32), "out": ((1, size * size * filters), np.float32),
    }  # fmt: skip
    return file(tensors, [("CONV_2D", "in weights bias", "made", convolution), FLAT], "in", "out")


def resized(height, width, claim):
    """Bilinear, to another size than the file claims."""
    tensors = {"in": IMAGE, "size": np.array([height, width], np.int32), "made": (claim, np.float32),
               "flat": np.array([1, 64], np.int32), "out": ROW}  # fmt: skip
    resize = ("RESIZE_BILINEAR", "in size", "made", options("ResizeBilinearOptions"))
    return file(tensors, [resize, FLAT], "in", "out")


def row(operator, constant):
    """One operator on a row and a constant, which claims to make a row."""
    return file({"in": ROW, "c": constant, "out": ROW}, [operator], "in", "out")


HOSTILE = {
    "pointers of a pool": (window(10_000), r"MAX_POOL_2D\) needs 47.7 GiB"),
    "patches of a convolution": (convolved(2000, 1), r"CONV_2D\) needs 28.\d GiB"),
    "false claim": (resized(20_000, 20_000, (1, 8, 8, 1)), r"RESHAPE\) can't work on shapes \(1, 20000, 20000, 1\)"),
    "no claim that is true": (resized(20_000, 20_000, (1, 20_000, 20_000, 1)), r"can't work on shapes|GiB"),
    "tiles": (row(("TILE", "in c", "out", None), np.array([1, 2**24], np.int32)), "makes"),
    "broadcast": (
        row(("ADD", "in c", "out", options("AddOptions")), np.zeros((30_000, 1), np.float32)), r"makes \(30000, 64\)"),
    "negative": (row(("TILE", "in c", "out", None), np.array([1, -1], np.int32)), "can't work on shapes"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_needs_absurd_memory_is_refused_in_one_line(name):
    content, message = HOSTILE[name]
    with pytest.raises(InputError, match=message) as caught:
        tflite.verify(content)
    assert "\n" not in str(caught.value)


def test_what_needs_little_is_not():
    for content in (window(3), convolved(16, 2), resized(8, 8, (1, 8, 8, 1))):
        tflite.verify(content)
        tflite.Runtime(tflite.parse(content))


def test_memory_is_what_lives_at_one_time_and_patches():
    # 4,096 pixels of 2 MiB of pointers or 32-bit numbers each: 31 * 31 * 8 * 4096, beside input and output.
    graph = tflite.parse(convolved(64, 1)).graph
    assert memory.scratch(graph.operators[0], shapes.infer(graph)) == 31 * 31 * 8 * 64 * 64
    # 8 pointers to 31 * 31 places of 1 GiB together: 8 * 961 * size^2 < 2^30 up to 373 pixels.
    tflite.verify(convolved(372, 1))
    with pytest.raises(InputError, match="GiB"):
        tflite.verify(convolved(374, 1))


def shape_of_shape(read):
    """A row spread to [n, n, ...] by its own shape, n its batch."""
    tensors = {
        "in": ((1, 2), np.float32), "shape": ((2,), np.int32), "begin": np.array([0], np.int32),
        "end": np.array([1], np.int32), "one": np.array([1], np.int32), "n": ((1,), np.int32),
        "two": np.array([2], np.int32), "wanted": ((6,), np.int32), "made": ((1, 1, 1, 1, 1, 2), np.float32),
        "axes": np.array([0, 1, 2, 3], np.int32), "out": ((1, 2), np.float32),
    }  # fmt: skip
    joined = ("CONCATENATION", "n n n n n two", "wanted", options("ConcatenationOptions"))
    return file(tensors, [
        ("SHAPE", "in", "shape", options("ShapeOptions", outType=2)),
        ("STRIDED_SLICE", "shape begin end one", "n", options("StridedSliceOptions")),
        joined,
        ("BROADCAST_TO", f"in {read}", "made", None),
        ("MEAN", "made axes", "out", options("ReducerOptions")),
    ], "in", "out")  # fmt: skip


def test_shapes_made_of_shapes_are_followed_at_every_batch():
    graph = tflite.parse(shape_of_shape("wanted")).graph
    assert shapes.infer(graph, 3)[8] == (3, 3, 3, 3, 3, 2)
    memory.check_batch(graph, 3)
    with pytest.raises(InputError, match=r"BROADCAST_TO\) needs 8.0 GiB"):
        memory.check_batch(graph, 64)


def test_batches_that_need_too_much_run_at_the_files_own():
    runtime = tflite.Runtime(tflite.parse(shape_of_shape("wanted")), kernels="reference")
    assert not runtime.batched
    images = np.random.default_rng(0).random((5, 2), np.float32)
    np.testing.assert_array_equal(runtime.predict(images), images)


def test_shapes_that_come_about_during_a_run_only_are_refused():
    tensors = {"in": ((1, 2), np.float32), "number": ((2,), np.int64), "axis": np.array(0, np.int32),
               "made": ((1, 2), np.float32)}  # fmt: skip
    largest = ("ARG_MAX", "in axis", "number", options("ArgMaxOptions", outputType=4))
    content = file(tensors, [largest, ("BROADCAST_TO", "in number", "made", None)], "in", "made")
    with pytest.raises(InputError, match="aren't known before it runs"):
        tflite.verify(content)


def _network(name):
    if name in th.models.KNOWN:
        return th.models.build(name, (8, 8, 3), 10, seed=0)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.ZeroPadding2D(((1, 2), (0, 1)))(x))
    x = keras.layers.AveragePooling2D(3, strides=2)(keras.layers.Cropping2D(1)(x))
    rows = keras.layers.Reshape((-1, 6))(x)
    x = keras.layers.MultiHeadAttention(2, 6)(rows, rows)
    x = keras.layers.GlobalMaxPooling1D()(keras.layers.Concatenate()([x, rows, keras.layers.Softmax()(x)]))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


@pytest.mark.parametrize(("name", "dynamic"), [("resnet", True), ("depthwise", True), ("many", True), ("many", False)])
def test_shapes_are_those_of_the_interpreter(name, dynamic):
    content = th.export.to_tflite(_network(name), "float32", dynamic_batch=dynamic).file.content
    graph = tflite.parse(content).graph
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    compared = 0
    for batch in (1, 3) if dynamic else (1,):
        interpreter.resize_tensor_input(graph.input.index, (batch, *graph.input.shape[1:]))
        interpreter.allocate_tensors()
        interpreter.invoke()
        found = shapes.infer(graph, batch)
        for detail in interpreter.get_tensor_details():
            if detail["index"] in found and graph.tensors[detail["index"]].stored is None:
                assert tuple(detail["shape"]) == found[detail["index"]], detail
                compared += 1
    assert compared > 10
