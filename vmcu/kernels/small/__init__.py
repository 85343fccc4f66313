"""Kernels for cores without DSP instructions: Thumb-2 on Armv7-M (Cortex-M3), Thumb-1 on Armv6-M (Cortex-M0+).

Like those for DSP cores they are written instruction by instruction (`assembly.py` here adds what these cores have) and
printed as assembly and as C.

    common.py       which layers they cover, and their constants
    product.py      weights times a pixel: convolutions and dense layers
    depthwise.py    neighbouring pixels of one channel
    taps.py         channels of one pixel
    convolution.py  the kernels of whole rows
"""
