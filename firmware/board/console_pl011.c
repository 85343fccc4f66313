/* PL011 (Arm DDI0183), as in the RP2040 and RP2350. Resets, clocks and pins are in the board's start table. */
#include "console.h"

#define DR VMCU_CONSOLE_REG(0x00U)
#define ECR VMCU_CONSOLE_REG(0x04U) /* written: errors are cleared */
#define FR VMCU_CONSOLE_REG(0x18U)
#define IBRD VMCU_CONSOLE_REG(0x24U)
#define FBRD VMCU_CONSOLE_REG(0x28U)
#define LCR_H VMCU_CONSOLE_REG(0x2CU)
#define CR VMCU_CONSOLE_REG(0x30U)
#define FR_RXFE (1U << 4)
#define FR_TXFF (1U << 5)

/* The divider in 1/64: clock / (16 * baud), to the nearest. */
#define DIVIDER ((uint32_t)(((uint64_t)VMCU_CONSOLE_CLOCK_HZ * 8U / VMCU_CONSOLE_BAUD + 1U) / 2U))

void vmcu_console_start(void)
{
    CR = 0U;
    IBRD = DIVIDER >> 6;
    FBRD = DIVIDER & 63U;
    LCR_H = 3U << 5 | 1U << 4; /* 8 bits, FIFOs; it also takes the divider over */
    CR = 1U << 9 | 1U << 8 | 1U; /* receiver, transmitter, on */
}

int vmcu_console_get(void)
{
    uint32_t data;
    if ((FR & FR_RXFE) != 0U) {
        return -1;
    }
    data = DR;
    if ((data & 0xF00U) != 0U) { /* overrun, break, parity, framing */
        ECR = 0U;
    }
    return (int)(data & 0xFFU);
}

void vmcu_console_put(uint8_t byte)
{
    uint32_t polls = VMCU_CONSOLE_PATIENCE;
    while ((FR & FR_TXFF) != 0U && --polls > 0U) {
    }
    DR = byte;
}
