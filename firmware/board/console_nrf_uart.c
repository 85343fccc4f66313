/* UART of the nRF51 and nRF52 (Nordic nRF51 Series Reference Manual v3.0, chapter 29). Pins are in the board's start table. */
#include "console.h"

#define STARTRX VMCU_CONSOLE_REG(0x000U)
#define STARTTX VMCU_CONSOLE_REG(0x008U)
#define RXDRDY VMCU_CONSOLE_REG(0x108U)
#define TXDRDY VMCU_CONSOLE_REG(0x11CU)
#define ERRORSRC VMCU_CONSOLE_REG(0x480U)
#define ENABLE VMCU_CONSOLE_REG(0x500U)
#define RXD VMCU_CONSOLE_REG(0x518U)
#define TXD VMCU_CONSOLE_REG(0x51CU)
#define BAUDRATE VMCU_CONSOLE_REG(0x524U)

static int sending;

void vmcu_console_start(void)
{
    /* baud * 2^32 / 16 MHz, to the nearest 2^12, as in Nordic's table. */
    BAUDRATE = (uint32_t)((((uint64_t)VMCU_CONSOLE_BAUD << 32) / 16000000U + 0x800U) & 0xFFFFF000U);
    ENABLE = 4U;
    STARTRX = 1U;
    STARTTX = 1U;
}

int vmcu_console_get(void)
{
    if (RXDRDY == 0U) {
        return -1;
    }
    RXDRDY = 0U; /* before the byte is taken: the next one sets it again */
    ERRORSRC = ERRORSRC;
    return (int)(RXD & 0xFFU);
}

void vmcu_console_put(uint8_t byte)
{
    uint32_t polls = VMCU_CONSOLE_PATIENCE;
    while (sending != 0 && TXDRDY == 0U && --polls > 0U) {
    }
    TXDRDY = 0U;
    sending = 1;
    TXD = byte;
}
