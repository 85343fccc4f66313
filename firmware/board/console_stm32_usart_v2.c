/* USART of the STM32F0, F3, F7, G0, H7, L4, U5 (ST RM0410, section 34.8): flags in ISR, data in RDR and TDR. LPUART1 has the
 * same registers but for its divider. */
#include "console.h"

#define CR1 VMCU_CONSOLE_REG(0x00U)
#define BRR VMCU_CONSOLE_REG(0x0CU)
#define ISR VMCU_CONSOLE_REG(0x1CU)
#define ICR VMCU_CONSOLE_REG(0x20U)
#define RDR VMCU_CONSOLE_REG(0x24U)
#define TDR VMCU_CONSOLE_REG(0x28U)
#define ISR_ERRORS 0xFU /* parity, framing, noise, overrun; written to ICR: cleared */
#define ISR_RXNE (1U << 5)
#define ISR_TXE (1U << 7)

#ifdef VMCU_CONSOLE_LPUART
#define DIVIDEND ((uint64_t)VMCU_CONSOLE_CLOCK_HZ * 256U)
#else
#define DIVIDEND ((uint64_t)VMCU_CONSOLE_CLOCK_HZ)
#endif

void vmcu_console_start(void)
{
    BRR = (uint32_t)((DIVIDEND + VMCU_CONSOLE_BAUD / 2U) / VMCU_CONSOLE_BAUD);
    CR1 = 1U << 3 | 1U << 2 | 1U; /* transmitter, receiver, on */
}

int vmcu_console_get(void)
{
    uint32_t flags = ISR;
    if ((flags & ISR_ERRORS) != 0U) {
        ICR = ISR_ERRORS;
    }
    return (flags & ISR_RXNE) == 0U ? -1 : (int)(RDR & 0xFFU);
}

void vmcu_console_put(uint8_t byte)
{
    uint32_t polls = VMCU_CONSOLE_PATIENCE;
    while ((ISR & ISR_TXE) == 0U && --polls > 0U) {
    }
    TDR = byte;
}
