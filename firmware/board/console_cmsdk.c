/* APB UART of Arm's CMSDK (DDI 0479, section 4.3): the MPS2 and MPS3 boards. */
#include "console.h"

#define DATA VMCU_CONSOLE_REG(0x00U)
#define STATE VMCU_CONSOLE_REG(0x04U)
#define CTRL VMCU_CONSOLE_REG(0x08U)
#define BAUDDIV VMCU_CONSOLE_REG(0x10U)
#define STATE_TX_FULL 1U
#define STATE_RX_FULL 2U
#define STATE_OVERRUNS 12U /* written: cleared */

void vmcu_console_start(void)
{
    uint32_t divider = VMCU_CONSOLE_CLOCK_HZ / VMCU_CONSOLE_BAUD;
    BAUDDIV = divider < 16U ? 16U : divider;
    CTRL = 3U;   /* receive and transmit, no interrupts */
    (void)DATA; /* a byte from before; QEMU looks for new ones only after one was taken */
}

int vmcu_console_get(void)
{
    if ((STATE & STATE_RX_FULL) == 0U) {
        return -1;
    }
    STATE = STATE_OVERRUNS;
    return (int)(DATA & 0xFFU);
}

void vmcu_console_put(uint8_t byte)
{
    uint32_t polls = VMCU_CONSOLE_PATIENCE;
    while ((STATE & STATE_TX_FULL) != 0U && --polls > 0U) {
    }
    DATA = byte;
}
