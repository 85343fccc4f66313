/* What the boot ROM of the RP2350 looks for in the first 4 KB of an image: a loop of blocks, here of one that says "a program
 * for a Cortex-M33, secure; its vector table is where the image begins" (RP2350 Datasheet, 5.9.5). */
    .section .boot, "a", %progbits
    .balign 4
    .word 0xffffded3            /* a block begins */
    .word 0x10210142            /* item 42h of one word, the kind of image: executable, secure, Arm, RP2350 */
    .word 0x000001ff            /* the last item; one word was before it */
    .word 0                     /* the next block is this one */
    .word 0xab123579            /* a block ends */
