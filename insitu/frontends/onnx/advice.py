"""ONNX operator -> what its user can do where we do not have it.

Invariant: a hint is about the network, not about us, and begins with a verb.
"""

from __future__ import annotations

GENERAL = "replace it, or cut the network before it and export again"

FAMILIES: dict[str, str] = {
    "BatchNormalization": "export the model in eval mode, with the normalization behind a layer",
    "Celu Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Selu Shrink Sigmoid Softplus "
    "Softsign Swish Tanh ThresholdedRelu": (
        "use Relu or Clip (ReLU6) in its place and train again"
    ),
    "GroupNormalization InstanceNormalization LayerNormalization LpNormalization LRN "
    "MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization": (
        "use BatchNormalization behind a layer, which is folded into it, and train again"
    ),
    "Attention Einsum MultiHeadAttention RotaryEmbedding Softmax LogSoftmax Hardmax": (
        "keep one softmax, at the end; replace attention by convolutions and train again"
    ),
    "GRU LSTM RNN": "use convolutions over the signal (a temporal CNN) and train again",
    "If Loop Scan SequenceAt SequenceConstruct SplitToSequence ConcatFromSequence Optional": (
        "export with an input of fixed size and in eval mode, so that no branch or loop remains"
    ),
    "ConvInteger DynamicQuantizeLinear MatMulInteger QLinearAdd QLinearConv QLinearMatMul": (
        "quantize statically in QDQ format (onnxruntime: quantize_static with QuantFormat.QDQ), "
        "or give the float network"
    ),
    "Abs Ceil Cos Div Exp Floor Log Neg Mod Pow Reciprocal Round Sign Sin Sqrt": (
        "do it to the samples where it prepares the input, else replace it and train again"
    ),
    "Add Mul Sub Sum": (
        "fold a constant into the layer before it; scale or shift the samples instead where it "
        "prepares the input"
    ),
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare LpPool GlobalLpPool CumSum": (
        "use average or max pooling over the image and train again"
    ),
    "AveragePool MaxPool GlobalAveragePool GlobalMaxPool AffineGrid GridSample Resize Upsample "
    "RoiAlign MaxUnpool MaxRoiPool Col2Im Pad": (
        "use pooling and strides within the image, or padding of a convolution, and train again"
    ),
    "Conv ConvTranspose DeformConv Gemm MatMul": (
        "use a convolution, or a linear layer behind a flatten, with constant weights, and "
        "train again"
    ),
    "ArgMax ArgMin Compress NonMaxSuppression NonZero OneHot TopK Unique": (
        "end the network before it, with the scores of all classes, and export again"
    ),
    "And BitwiseAnd Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor": (
        "export in eval mode; replace what chooses by value by Relu or Clip and train again"
    ),
    "CenterCropPad Concat DepthToSpace Expand Flatten Gather GatherElements GatherND Reshape "
    "ScatterElements ScatterND Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze": (
        "cut or order the samples before the network where it does so to the input, else use a "
        "network without it"
    ),
    "Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike": "export the model in eval mode, where nothing is random",
    "Cast CastLike": "export the model in float32",
    "DFT MelWeightMatrix STFT BlackmanWindow HammingWindow HannWindow": (
        "compute the spectrum before the network, as its samples"
    ),
    "StringNormalizer TfIdfVectorizer LabelEncoder RegexFullMatch StringConcat StringSplit": (
        "turn the text into numbers before the network"
    ),
}
"""Operators with spaces between -> the hint that suits them all."""

_BY_OPERATOR = {op: hint for family, hint in FAMILIES.items() for op in family.split()}


def advice(op: str) -> str:
    """What to do about an operator that is not available, or not in this form."""
    return _BY_OPERATOR.get(op, GENERAL)
