/* The few things C cannot say. Only ARMv6-M instructions, so every core takes this file. */
    .syntax unified
    .thumb

    .macro function name
    .section .text.\name, "ax", %progbits
    .global \name
    .type \name, %function
    .thumb_func
    .balign 4
\name:
    .endm

    .macro end_of name
    .size \name, . - \name
    .endm

/* int vmcu_cpu_semihost(uint32_t operation, void *argument) */
function vmcu_cpu_semihost
    bkpt 0xab
    bx lr
end_of vmcu_cpu_semihost

/* int vmcu_cpu_call(int (*fn)(void *), void *arg): eight bytes of stack below the caller's. */
function vmcu_cpu_call
    push {r4, lr}
    mov r2, r0
    mov r0, r1
    blx r2
    pop {r4, pc}
end_of vmcu_cpu_call

/* void vmcu_cpu_paint(uint32_t *limit): fills [limit, sp) with a pattern. */
function vmcu_cpu_paint
    ldr r2, =0xdeadbeef
    mov r1, sp
1:  cmp r0, r1
    bhs 2f
    str r2, [r0]
    adds r0, r0, #4
    b 1b
2:  bx lr
    .ltorg
end_of vmcu_cpu_paint

/* uint32_t vmcu_cpu_scan(const uint32_t *limit): bytes from the lowest changed word up to sp. */
function vmcu_cpu_scan
    ldr r2, =0xdeadbeef
    mov r1, sp
1:  cmp r0, r1
    bhs 2f
    ldr r3, [r0]
    cmp r3, r2
    bne 2f
    adds r0, r0, #4
    b 1b
2:  subs r0, r1, r0
    bx lr
    .ltorg
end_of vmcu_cpu_scan

/* int vmcu_cpu_empty(void *): 2 instructions. */
function vmcu_cpu_empty
    movs r0, #0
    bx lr
end_of vmcu_cpu_empty

/* int vmcu_cpu_loop(void *): 402 instructions. */
function vmcu_cpu_loop
    movs r0, #200
1:  subs r0, r0, #1
    bne 1b
    bx lr
end_of vmcu_cpu_loop

/* int vmcu_cpu_hook_pair(void *): two hooks with one instruction between them, the second call. */
function vmcu_cpu_hook_pair
    push {r4, lr}
    bl vmcu_task_done
    bl vmcu_task_done
    pop {r4, pc}
end_of vmcu_cpu_hook_pair

/* Every fault lands here: the exception frame goes to C. */
function vmcu_cpu_fault
    mov r0, sp
    ldr r1, =vmcu_fault
    bx r1
    .ltorg
end_of vmcu_cpu_fault
