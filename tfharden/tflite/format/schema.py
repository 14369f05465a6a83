"""The TFLite schema as data: the tables that the verifier walks, field by field in slot order.

Written from the public schema (version 3) and the accessors of the installed LiteRT, which know more fields than the
public schema; a test compares the two.
Tables of options that have no fields aren't listed: nothing reads them.
"""

import functools
from typing import NamedTuple

IDENTIFIER = b"TFL3"
VERSION = 3

# Little-endian numpy codes of the scalars, by the name used below.
SCALARS = {
    "bool": "|u1",
    "i8": "|i1",
    "u8": "|u1",
    "u16": "<u2",
    "i32": "<i4",
    "u32": "<u4",
    "f32": "<f4",
    "i64": "<i8",
    "u64": "<u8",
}

# name:type, with [type] for a vector, =n for a default other than zero, and |A,B for a union of tables. A union takes
# two slots: the number of the member (1 for A) in `name_type`, then the table in `name`. The options of an operator
# are a union of 125 members, numbered by `option_tables`.
_TABLES = """
Model: version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string buffers:[Buffer]
    metadata_buffer:[i32] metadata:[Metadata] signature_defs:[SignatureDef]
    external_buffer_groups:[ExternalBufferGroup] external_buffers:[ExternalBuffer]
OperatorCode: deprecated_builtin_code:i8 custom_code:string version:i32=1 builtin_code:i32
SubGraph: tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:string debug_metadata_index:i32=-1
Tensor: shape:[i32] type:i8 buffer:u32 name:string quantization:QuantizationParameters is_variable:bool
    sparsity:SparsityParameters shape_signature:[i32] has_rank:bool variant_tensors:[VariantSubType]
    external_buffer:u32
Operator: opcode_index:u32 inputs:[i32] outputs:[i32] builtin_options:|OPTIONS custom_options:[u8]
    custom_options_format:i8 mutating_variable_inputs:[bool] intermediates:[i32] large_custom_options_offset:u64
    large_custom_options_size:u64 builtin_options_2:|STABLEHLO debug_metadata_index:i32=-1
Buffer: data:[u8] offset:u64 size:u64
Metadata: name:string buffer:u32
SignatureDef: inputs:[TensorMap] outputs:[TensorMap] signature_key:string deprecated_tag:string subgraph_index:u32
TensorMap: name:string tensor_index:u32
ExternalBufferGroup: name:string
ExternalBuffer: id:u32 group:u32 offset:u64 length:u64 packing:string
VariantSubType: shape:[i32] type:i8 has_rank:bool

QuantizationParameters: min:[f32] max:[f32] scale:[f32] zero_point:[i64]
    details:|CustomQuantization,BlockwiseQuantization,MultiAxisQuantization quantized_dimension:i32
CustomQuantization: custom:[u8]
BlockwiseQuantization: scales:i32 zero_points:i32 block_size:i32 block_shape:[i32]
MultiAxisQuantization: scales:i32 zero_points:i32 block_size:i32 quantized_dimensions:[i32]

SparsityParameters: traversal_order:[i32] block_map:[i32] dim_metadata:[DimensionMetadata]
DimensionMetadata: format:i8 dense_size:i32 array_segments:|Int32Vector,Uint16Vector,Uint8Vector
    array_indices:|Int32Vector,Uint16Vector,Uint8Vector
Int32Vector: values:[i32]
Uint16Vector: values:[u16]
Uint8Vector: values:[u8]

AddOptions: fused_activation_function:i8 pot_scale_int16:bool=1
ArgMaxOptions: output_type:i8
ArgMinOptions: output_type:i8
BatchMatMulOptions: adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
CastOptions: in_data_type:i8 out_data_type:i8
ConcatenationOptions: axis:i32 fused_activation_function:i8
Conv2DOptions: padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8 dilation_w_factor:i32=1
    dilation_h_factor:i32=1 quantized_bias_type:i8
CumsumOptions: exclusive:bool reverse:bool
DepthToSpaceOptions: block_size:i32
DepthwiseConv2DOptions: padding:i8 stride_w:i32 stride_h:i32 depth_multiplier:i32 fused_activation_function:i8
    dilation_w_factor:i32=1 dilation_h_factor:i32=1
DivOptions: fused_activation_function:i8
FullyConnectedOptions: fused_activation_function:i8 weights_format:i8 keep_num_dims:bool
    asymmetric_quantize_inputs:bool quantized_bias_type:i8 quant_spec:[u8]
GatherOptions: axis:i32 batch_dims:i32
GeluOptions: approximate:bool
L2NormOptions: fused_activation_function:i8
LeakyReluOptions: alpha:f32
LocalResponseNormalizationOptions: radius:i32 bias:f32 alpha:f32 beta:f32
MirrorPadOptions: mode:i8
MulOptions: fused_activation_function:i8
PackOptions: values_count:i32 axis:i32
Pool2DOptions: padding:i8 stride_w:i32 stride_h:i32 filter_width:i32 filter_height:i32 fused_activation_function:i8
ReducerOptions: keep_dims:bool
ReshapeOptions: new_shape:[i32]
ResizeBilinearOptions: new_height:i32 new_width:i32 align_corners:bool half_pixel_centers:bool
ResizeNearestNeighborOptions: align_corners:bool half_pixel_centers:bool
ShapeOptions: out_type:i8
SoftmaxOptions: beta:f32
SpaceToDepthOptions: block_size:i32
SplitOptions: num_splits:i32
SplitVOptions: num_splits:i32
SqueezeOptions: squeeze_dims:[i32]
StridedSliceOptions: begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32 shrink_axis_mask:i32 offset:bool
SubOptions: fused_activation_function:i8 pot_scale_int16:bool=1
TransposeConvOptions: padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8 quantized_bias_type:i8
UnpackOptions: num:i32 axis:i32
"""


class Field(NamedTuple):
    """One slot of a table: its name, what lies there, and the value of an absent scalar."""

    name: str
    kind: str  # scalar, string, table, scalars (a vector), tables (a vector), or union
    type: str  # of the scalar, or the table's name; for a union its members, joined by commas
    default: int = 0


class Element(NamedTuple):
    """What an element of a tensor is: LiteRT's name, its width, and the numpy type that holds it."""

    name: str
    bits: int
    numpy: str


# Strings, resources, variants and complex numbers have no place in an image classifier.
ELEMENTS = {
    0: Element("FLOAT32", 32, "float32"), 1: Element("FLOAT16", 16, "float16"), 2: Element("INT32", 32, "int32"),
    3: Element("UINT8", 8, "uint8"), 4: Element("INT64", 64, "int64"), 6: Element("BOOL", 8, "bool"),
    7: Element("INT16", 16, "int16"), 9: Element("INT8", 8, "int8"), 10: Element("FLOAT64", 64, "float64"),
    12: Element("UINT64", 64, "uint64"), 15: Element("UINT32", 32, "uint32"), 16: Element("UINT16", 16, "uint16"),
    17: Element("INT4", 4, "int8"), 19: Element("INT2", 2, "int8"), 20: Element("UINT4", 4, "uint8"),
}  # fmt: skip


def _tables(text: str) -> dict[str, tuple[Field, ...]]:
    tables: dict[str, list[Field]] = {}
    for word in text.split():
        if word.endswith(":"):
            fields = tables.setdefault(word[:-1], [])
            continue
        name, _, rest = word.partition(":")
        type_, _, default = rest.partition("=")
        if type_.startswith("|"):
            fields += [Field(f"{name}_type", "scalar", "u8"), Field(name, "union", type_[1:])]
        elif type_.startswith("["):
            element = type_.strip("[]")
            fields.append(Field(name, "scalars" if element in SCALARS else "tables", element))
        elif type_ in SCALARS:
            fields.append(Field(name, "scalar", type_, int(default or 0)))
        else:
            fields.append(Field(name, "string" if type_ == "string" else "table", type_))
    return {name: tuple(fields) for name, fields in tables.items()}


TABLES = _tables(_TABLES)


@functools.cache
def operator_names() -> dict[int, str]:
    """Names of the builtin operators by number."""
    from ai_edge_litert import schema_py_generated  # noqa: PLC0415 - it is large, and only a file that is read needs it

    return _constants(schema_py_generated.BuiltinOperator)


@functools.cache
def option_tables() -> dict[int, str]:
    """Names of the tables of options by their number in the union."""
    from ai_edge_litert import schema_py_generated  # noqa: PLC0415

    return _constants(schema_py_generated.BuiltinOptions)


def _constants(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}
