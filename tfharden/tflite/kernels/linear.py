"""Products with constant weights, by the types of data and weights."""

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels import activations, hybrid, products
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.products import Product


def linear(op: Operator, kernels: KernelSet, product: Product) -> Function:
    """The function of a product: in whole numbers, in real ones, or with data quantised on the fly.

    Raises:
        InputError: weights or bias aren't constant.
    """
    if product.weights.data is None or (product.bias is not None and product.bias.data is None):
        raise refuse(op, "its weights aren't constant")
    if product.data.quantised and product.weights.quantised:
        return products.quantised(op, kernels, product)
    if product.weights.quantised:
        return hybrid.quantised_on_the_fly(op, kernels, product)
    kernel = product.arranged(product.weights.centred)
    offset = 0.0 if product.bias is None else product.bias.centred
    activation = activations.fused(op)
    return lambda x, *_: activation(product.linear(x, kernel) + offset)
