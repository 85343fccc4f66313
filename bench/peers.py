"""What others need: figures that the benchmarks print beside ours. Data, each with its source and method.

Measured: TensorFlow Lite Micro 90b983c2b with CMSIS-NN 4ab83cc3, arm-none-eabi-gcc 12.2.1 and newlib-nano; TFLM's default
build (core -Os, kernels and CMSIS-NN -O2), only the operators a model needs, in their int8 form. Instructions are exact
counts of the second Invoke in QEMU 7.2 (mps2-an386, mps2-an500, mps3-an547; a timer of more than three ticks an
instruction, checked with loops of known length), on noise; outputs equal TFLM's reference kernels. Flash is everything but
the model file; RAM is the arena used, variables and the deepest stack seen. Kernels alone: CMSIS-NN's functions, called
once, checked against a plain loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

M4, M7, M55 = "cortex-m4", "cortex-m7", "cortex-m55"


@dataclass(frozen=True, slots=True)
class ModelPeer:
    """A whole network in TFLM with CMSIS-NN.

    Attributes:
        instructions: of one inference.
        flash_bytes: without the model.
        ram_bytes: complete.
        stack_bytes: of Invoke, part of it.
    """

    instructions: int
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int


@dataclass(frozen=True, slots=True)
class KernelPeer:
    """One kernel of CMSIS-NN: instructions of one call, bytes of its scratch buffer."""

    instructions: int
    scratch_bytes: int


MODELS: Mapping[str, Mapping[str, ModelPeer]] = MappingProxyType(
    {
        "mlperf_kws": {
            M4: ModelPeer(7_699_186, 52_944, 24_240, 844),
            M7: ModelPeer(7_644_991, 51_292, 24_220, 828),
            M55: ModelPeer(1_815_081, 44_268, 28_892, 972),
        },
        "mlperf_vww": {
            M4: ModelPeer(24_101_540, 52_944, 102_120, 844),
            M7: ModelPeer(24_025_155, 51_324, 102_100, 828),
            M55: ModelPeer(6_557_946, 44_276, 102_308, 972),
        },
        "mlperf_resnet8": {
            M4: ModelPeer(29_863_808, 50_748, 56_416, 844),
            M7: ModelPeer(30_026_852, 49_324, 56_396, 828),
            M55: ModelPeer(4_912_079, 40_996, 56_528, 928),
        },
        "mlperf_ad": {
            M4: ModelPeer(582_846, 27_576, 4_056, 556),
            M7: ModelPeer(583_155, 25_080, 4_056, 556),
            M55: ModelPeer(149_923, 19_564, 10_884, 696),
        },
        "person_detect": {
            M4: ModelPeer(22_928_023, 43_200, 83_724, 884),
            M7: ModelPeer(22_715_450, 41_420, 83_720, 884),
            M55: ModelPeer(6_507_692, 38_236, 84_172, 1_288),
        },
        "mcunet_vww": {
            M4: ModelPeer(47_934_802, 57_928, 221_060, 844),
            M7: ModelPeer(47_449_382, 55_912, 221_044, 828),
            M55: ModelPeer(11_688_976, 46_780, 221_236, 972),
        },
        "mlperf_sww": {
            M4: ModelPeer(2_227_417, 50_408, 17_820, 672),
            M7: ModelPeer(2_188_506, 48_724, 17_796, 664),
            M55: ModelPeer(407_782, 41_116, 21_456, 972),
        },
    }
)

# By shape: "pw" pointwise, "c" convolution, "dw" depthwise, "fc" dense; s2 is stride 2; rows x columns of the input,
# channels.
KERNELS: Mapping[str, Mapping[str, KernelPeer]] = MappingProxyType(
    {
        "pw_20x20_48_48": {
            M4: KernelPeer(2_096_879, 0),
            M7: KernelPeer(2_063_272, 0),
            M55: KernelPeer(431_569, 0),
        },
        "pw_20x20_16_96": {
            M4: KernelPeer(2_437_151, 0),
            M7: KernelPeer(2_408_344, 0),
            M55: KernelPeer(647_569, 0),
        },
        "pw_20x20_96_16": {
            M4: KernelPeer(1_138_191, 0),
            M7: KernelPeer(1_117_384, 0),
            M55: KernelPeer(199_569, 0),
        },
        "pw_10x10_96_96": {
            M4: KernelPeer(1_730_591, 0),
            M7: KernelPeer(1_699_384, 0),
            M55: KernelPeer(294_019, 0),
        },
        "pw_10x10_24_144": {
            M4: KernelPeer(1_146_287, 0),
            M7: KernelPeer(1_142_680, 0),
            M55: KernelPeer(282_019, 0),
        },
        "pw_5x5_160_160": {
            M4: KernelPeer(1_165_871, 0),
            M7: KernelPeer(1_145_544, 0),
            M55: KernelPeer(172_140, 0),
        },
        "pw_25x5_64_64": {
            M4: KernelPeer(1_069_023, 0),
            M7: KernelPeer(1_051_096, 0),
            M55: KernelPeer(202_918, 0),
        },
        "c3x3_32x32_16_16": {
            M4: KernelPeer(5_493_132, 576),
            M7: KernelPeer(5_541_420, 576),
            M55: KernelPeer(941_965, 576),
        },
        "c3x3s2_80x80_3_16": {
            M4: KernelPeer(3_295_740, 112),
            M7: KernelPeer(3_371_142, 112),
            M55: KernelPeer(979_113, 128),
        },
        "c3x3_16x16_32_32": {
            M4: KernelPeer(4_543_880, 1_152),
            M7: KernelPeer(4_555_992, 1_152),
            M55: KernelPeer(603_985, 1_152),
        },
        "c3x3_8x8_64_64": {
            M4: KernelPeer(4_155_744, 2_304),
            M7: KernelPeer(4_158_792, 2_304),
            M55: KernelPeer(487_273, 2_304),
        },
        "dw3x3_20x20_96": {
            M4: KernelPeer(2_756_289, 0),
            M7: KernelPeer(2_756_295, 0),
            M55: KernelPeer(756_652, 4_464),
        },
        "dw3x3s2_20x20_96": {
            M4: KernelPeer(689_731, 0),
            M7: KernelPeer(689_737, 0),
            M55: KernelPeer(189_470, 4_464),
        },
        "dw3x3_10x10_144": {
            M4: KernelPeer(1_004_803, 0),
            M7: KernelPeer(1_004_809, 0),
            M55: KernelPeer(298_107, 4_464),
        },
        "dw5x5_10x10_96": {
            M4: KernelPeer(2_168_797, 4_800),
            M7: KernelPeer(2_101_789, 4_800),
            M55: KernelPeer(394_099, 12_400),
        },
        "dw7x7_10x10_96": {
            M4: KernelPeer(3_762_075, 9_408),
            M7: KernelPeer(3_637_759, 9_408),
            M55: KernelPeer(697_787, 24_304),
        },
        "fc_1024_256": {
            M4: KernelPeer(504_360, 0),
            M7: KernelPeer(504_410, 0),
            M55: KernelPeer(126_243, 1_024),
        },
        "fc_640_128": {M4: KernelPeer(160_080, 0), M7: KernelPeer(160_110, 0), M55: KernelPeer(40_163, 512)},
        "fc_64_12": {M4: KernelPeer(2_174, 0), M7: KernelPeer(2_177, 0), M55: KernelPeer(673, 48)},
    }
)

# Million cycles of the best published MLPerf Tiny result (closed division) of a core: latency times clock. M4 at 120 MHz
# (ST Edge AI 9.0; AD: Plumerai), M33 at 160 MHz, M7 at 280 MHz, M0+ at 64 MHz. Boards, wait states included.
RECORD_MEGACYCLES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "mlperf_kws": {M4: 5.18, M7: 3.17, "cortex-m33": 4.64, "cortex-m0plus": 30.4},
        "mlperf_vww": {M4: 10.67, M7: 6.66, "cortex-m33": 9.49, "cortex-m0plus": 90.5},
        "mlperf_resnet8": {M4: 19.8, M7: 11.4, "cortex-m33": 16.7, "cortex-m0plus": 97.4},
        "mlperf_ad": {M4: 0.49, M7: 0.30, "cortex-m33": 0.51, "cortex-m0plus": 2.62},
    }
)

# TinyEngine with integer requantisation on mcunet_vww (its float one is faster and wrong), same compiler and method.
TINYENGINE_INSTRUCTIONS: Mapping[str, Mapping[str, int]] = MappingProxyType({"mcunet_vww": {M4: 43_351_649}})
