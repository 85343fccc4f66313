/* Registers of a console, and the patience of all drivers. */
#ifndef VMCU_CONSOLE_H
#define VMCU_CONSOLE_H

#include <stdint.h>

#include "board.h"
#include "vmcu_board.h"

#define VMCU_CONSOLE_REG(offset) (*(volatile uint32_t *)(VMCU_CONSOLE_BASE + (offset)))
#define VMCU_CONSOLE_PATIENCE 2000000U /* polls; a byte takes far fewer */

#endif
