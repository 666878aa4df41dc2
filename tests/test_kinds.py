"""Operations and kernels, by the names that torch's profiler is known to give, and their kinds."""

import pytest

from bench import kinds
from bench.kinds import FORWARD, Scope, Share, Work, kind_of, shares, unknown

IN_NET, BACKWARD = Scope(FORWARD), "autograd::engine::evaluate_function: "


def work(*scopes: str | tuple[str, int] | Scope, **of) -> Work:
    made = [s if isinstance(s, Scope) else Scope(s) if isinstance(s, str) else Scope(*s) for s in scopes]
    return Work(tuple(made), **({"seconds": 1.0} | of))


@pytest.mark.parametrize(
    ("kind", "scopes"),
    [
        (kinds.CONVOLUTION, [("aten::mkldnn_convolution", 4), ("aten::conv2d", 4), IN_NET]),
        (kinds.CONVOLUTION, ["aten::empty", ("aten::cudnn_convolution", 4), ("aten::conv2d", 4), IN_NET]),
        (kinds.CONVOLUTION, [("aten::copy_", 4), ("aten::to", 4), ("aten::convolution_backward", 4)]),
        (kinds.CONVOLUTION, [f"{BACKWARD}ConvolutionBackward0"]),
        (kinds.BATCH_NORM, [("aten::native_batch_norm", 4), ("aten::batch_norm", 4), IN_NET]),
        (kinds.BATCH_NORM, ["aten::add_", IN_NET]),  # of its count of batches
        (kinds.BATCH_NORM, [("aten::cudnn_batch_norm_backward", 4), f"{BACKWARD}CudnnBatchNormBackward0"]),
        (kinds.ACTIVATION, [("aten::clamp_min_", 4), ("aten::relu_", 4), IN_NET]),
        (kinds.ACTIVATION, [("aten::add_", 4), IN_NET]),
        (kinds.ACTIVATION, [("aten::add_", 4), f"{BACKWARD}ConvolutionBackward0"]),  # two gradients of one map
        (kinds.ACTIVATION, [("aten::copy_", 4), ("aten::constant_pad_nd", 4), ("aten::pad", 4), IN_NET]),
        (kinds.ACTIVATION, [("aten::threshold_backward", 4), ("ReluBackward0", 4)]),
        (kinds.ACTIVATION, ["aten::zeros", ("aten::slice_backward", 4), f"{BACKWARD}SliceBackward0"]),
        (kinds.HEAD, [("aten::mean", 4), ("aten::adaptive_avg_pool2d", 4), IN_NET]),
        (kinds.HEAD, [("aten::addmm", 1), ("aten::linear", 2), IN_NET]),
        (kinds.HEAD, [("aten::mm", 2), f"{BACKWARD}AddmmBackward0"]),
        (kinds.HEAD, [("aten::_log_softmax", 2), ("aten::cross_entropy_loss", 2)]),
        (kinds.DATA, [("aten::copy_", 4), ("aten::constant_pad_nd", 4), ("aten::pad", 4)]),
        (kinds.DATA, [("aten::copy_", 4), ("aten::_to_copy", 4), ("aten::to", 4), ("aten::div", 4)]),
        (kinds.DATA, [("aten::index", 4)]),
        (kinds.DATA, [("aten::flip", 4)]),
        (kinds.OPTIMISER, ["aten::_fused_sgd_"]),
        (kinds.OPTIMISER, [("aten::add_", 4), ("aten::_foreach_add_", 0)]),
        (kinds.OPTIMISER, [("aten::copy_", 4), "Optimizer.step#SGD.step"]),
        (kinds.TALLY, [("aten::argmax", 2)]),
        (kinds.TALLY, [("aten::sum", 1)]),
        (kinds.TALLY, ["aten::add_"]),
        (kinds.TALLY, [("aten::copy_", 0), ("aten::_to_copy", 0), ("aten::to", 0)]),
        (kinds.CAST, [("aten::_to_copy", 4), ("aten::to", 4), ("aten::conv2d", 4), IN_NET]),  # by autocast
        (kinds.CAST, [("aten::_to_copy", 2), ("aten::to", 2)]),  # the logits
        (kinds.CAST, [("aten::to", 4), ("ToCopyBackward0", 4), f"{BACKWARD}ToCopyBackward0"]),
        (kinds.OTHER, ["aten::fft_rfft"]),
        (kinds.OTHER, []),
    ],
)
def test_operations(kind, scopes):
    assert kind_of(work(*scopes)) == kind


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kinds.CONVOLUTION, "sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x32"),
        (kinds.CONVOLUTION, "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_128x64>"),
        (kinds.CONVOLUTION, "void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>"),
        (kinds.BATCH_NORM, "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1, true>"),
        (kinds.BATCH_NORM, "void at::native::batch_norm_backward_reduce_channels_last_kernel<4, float, float, float>"),
        (kinds.ACTIVATION, "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>"),
        (kinds.ACTIVATION, "void at::native::elementwise_kernel<threshold_kernel_impl<float>>"),
        (kinds.HEAD, "void cunn_SoftMaxForward<4, float, float, float>"),
        (kinds.HEAD, "nvjet_sm90_tst_64x8_64x16_1x2_h_bz_TNT"),
        (kinds.HEAD, "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>"),
        (kinds.DATA, "void at::native::index_elementwise_kernel<128, 4, gpu_index_kernel>"),
        (kinds.OPTIMISER, "void at::native::multi_tensor_apply_kernel<FusedSgdMathFunctor<float, 3>>"),
        (kinds.TALLY, "void at::native::reduce_kernel<512, 1, ReduceOp<float, ArgMaxOps<float>>>"),
        (kinds.TALLY, "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<double>>"),
        (kinds.CAST, "void at::native::vectorized_elementwise_kernel<4, bfloat16_copy_kernel_cuda>"),
        (kinds.CAST, "Memcpy DtoD (Device -> Device)"),
        (kinds.OTHER, "a_kernel_of_next_year"),
    ],
)
def test_kernels_without_an_operation(kind, name):
    assert kind_of(work(kernel=name)) == kind


def test_an_operation_tells_more_than_a_kernels_name():
    assert kind_of(work(("aten::conv2d", 4), IN_NET, kernel="sm90_gemm")) == kinds.CONVOLUTION
    assert kind_of(work("cudaGraphLaunch", kernel="bn_fw_tr_1C11_kernel")) == kinds.BATCH_NORM


def test_shares_and_what_is_unknown():
    works = [
        work(("aten::conv2d", 4), seconds=2.0),
        work("aten::empty", ("aten::conv2d", 4), seconds=0.5, calls=0),
        work("first", seconds=0.25),
        work(kernel="second", seconds=1.0),
        work("first", seconds=0.25),
    ]
    assert shares(works) == {kinds.CONVOLUTION: Share(2.5, 1), kinds.OTHER: Share(1.5, 3)}
    assert list(unknown(works).items()) == [("second", 1.0), ("first", 0.5)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ZeroPaddedAddition", kinds.ACTIVATION),
        ("autograd::engine::evaluate_function: ZeroPaddedAdditionBackward", kinds.ACTIVATION),
        ("aten::_foreach_copy_", kinds.CAST),  # master weights rounded into their copies
        ("aten::_fused_sgd_", kinds.OPTIMISER),
    ],
)
def test_operations_of_our_own_step(name, kind):
    assert kind_of(work((name, 4))) == kind
