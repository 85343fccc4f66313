/* USART of the STM32F1, F2 and F4 (ST RM0383, section 19.6): one status and one data register. */
#include "console.h"

#define SR VMCU_CONSOLE_REG(0x00U)
#define DR VMCU_CONSOLE_REG(0x04U)
#define BRR VMCU_CONSOLE_REG(0x08U)
#define CR1 VMCU_CONSOLE_REG(0x0CU)
#define SR_RXNE (1U << 5)
#define SR_TXE (1U << 7)

void vmcu_console_start(void)
{
    BRR = (VMCU_CONSOLE_CLOCK_HZ + VMCU_CONSOLE_BAUD / 2U) / VMCU_CONSOLE_BAUD;
    CR1 = 1U << 13 | 1U << 3 | 1U << 2; /* on, transmitter, receiver */
    (void)DR;                             /* a byte from before; QEMU looks for new ones only after one was taken */
}

int vmcu_console_get(void)
{
    if ((SR & SR_RXNE) == 0U) {
        return -1;
    }
    return (int)(DR & 0xFFU); /* after SR, this also clears an overrun */
}

void vmcu_console_put(uint8_t byte)
{
    uint32_t polls = VMCU_CONSOLE_PATIENCE;
    while ((SR & SR_TXE) == 0U && --polls > 0U) {
    }
    DR = byte;
}
