/* Every fault lands here. The stack may be what failed, so the handler brings its own. */
    .syntax unified
    .thumb

    .section .text.vmcu_board_fault, "ax", %progbits
    .global vmcu_board_fault
    .type vmcu_board_fault, %function
    .thumb_func
    .balign 4
vmcu_board_fault:
    mov r0, sp
#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8_1M_MAIN__)
    movs r1, #0
    msr msplim, r1
#endif
    ldr r1, =vmcu_fault_stack_top
    mov sp, r1
    ldr r1, =vmcu_fault_report
    bx r1
    .ltorg
    .size vmcu_board_fault, . - vmcu_board_fault

    .section .bss.vmcu_fault_stack, "aw", %nobits
    .balign 8
    .space 512
vmcu_fault_stack_top:
