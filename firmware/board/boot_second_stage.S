/* What the boot ROM of the RP2040 takes from the first 256 bytes of flash: it copies them to RAM, compares their checksum (the
 * last word, which vmcu/board/boot.py fills in) and calls them (RP2040 Datasheet, 2.8.1). They have to make flash readable
 * at its address, and to start what is behind them.
 *
 * Plain serial reads, command 03h with 24 bits of address, which every flash understands after power-on, at half the
 * clock of the bus (registers of the SSI: RP2040 Datasheet, 4.10.13). */
    .syntax unified
    .thumb
    .section .boot, "ax", %progbits
    .balign 4

    .equ SSI, 0x18000000
    .equ CTRLR0, 0x00
    .equ CTRLR1, 0x04
    .equ SSIENR, 0x08
    .equ BAUDR, 0x14
    .equ SPI_CTRLR0, 0xf4
    .equ VTOR, 0xe000ed08
    .equ VECTORS, 0x10000100

    .global vmcu_boot
    .type vmcu_boot, %function
vmcu_boot:
    ldr r0, =SSI
    movs r1, #0
    str r1, [r0, #SSIENR]       /* off, to be set up */
    movs r1, #2
    str r1, [r0, #BAUDR]
    ldr r1, =0x001f0300         /* frames of 32 bits; one line; transmit, then receive */
    str r1, [r0, #CTRLR0]
    movs r1, #0
    str r1, [r0, #CTRLR1]       /* one frame a read */
    ldr r1, =0x03000218         /* command 03h of 8 bits, 24 bits of address, on one line */
    movs r2, #SPI_CTRLR0
    str r1, [r0, r2]
    movs r1, #1
    str r1, [r0, #SSIENR]
    ldr r0, =VECTORS
    ldr r1, =VTOR
    str r0, [r1]
    ldmia r0!, {r1, r2}
    msr msp, r1
    bx r2
    .balign 4
    .ltorg
    .size vmcu_boot, . - vmcu_boot
    .org 252
    .word 0                     /* the checksum */
