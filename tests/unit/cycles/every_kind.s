@ At least one instruction of every encoding that the decoder distinguishes, Armv7E-M with FPv4.
 .syntax unified
 .thumb
 .text
 .align 2

 .thumb_func
f:
 smlad r0, r1, r2, r3
 smladx r4, r5, r6, r7
 smuad r0, r1, r2
 smlabb r0, r1, r2, r3
 smlatt r0, r1, r2, r3
 smulbt r0, r1, r2
 smlawb r0, r1, r2, r3
 smlald r0, r1, r2, r3
 smlal r0, r1, r2, r3
 smlaltb r0, r1, r2, r3
 umaal r0, r1, r2, r3
 umlal r8, r9, r10, r11
 smull r0, r1, r2, r3
 umull r0, r1, r2, r3
 smmul r0, r1, r2
 smmulr r0, r1, r2
 smmla r0, r1, r2, r3
 smmlar r0, r1, r2, r3
 smmls r0, r1, r2, r3
 mls r0, r1, r2, r3
 mla r0, r1, r2, r3
 mul r8, r1, r2
 muls r0, r1
 sdiv r0, r1, r2
 udiv r0, r1, r2
 usad8 r0,r1,r2
 usada8 r0,r1,r2,r3
 sxtb16 r0, r1
 sxtb16 r0, r1, ror #8
 sxtab16 r0, r1, r2
 sxtab r0, r1, r2, ror #16
 uxtah r0, r1, r2
 sxtb r8, r1
 sxtb r0, r1
 uxth r0, r1
 pkhbt r0, r1, r2, lsl #16
 pkhtb r0, r1, r2, asr #16
 pkhbt r0, r1, r2
 sadd16 r0, r1, r2
 sadd8 r0, r1, r2
 qadd16 r0, r1, r2
 uhsub8 r0, r1, r2
 sasx r0, r1, r2
 qadd r0, r1, r2
 qdadd r0, r1, r2
 qsub r0, r1, r2
 sel r0, r1, r2
 clz r0, r1
 rbit r0, r1
 rev r0, r1
 rev16 r8, r1
 revsh r0, r1
 ssat r0, #8, r1
 ssat r0, #8, r1, asr #5
 usat r0, #8, r1
 ssat16 r0, #8, r1
 usat16 r0, #8, r1
 sbfx r0, r1, #3, #5
 ubfx r0, r1, #3, #5
 bfi r0, r1, #3, #5
 bfc r0, #3, #5
 lsl r0, r1, r2
 lsls r0, r1
 lsls r0, r1, #3
 asr r8, r1, #4
 rrx r0, r1
 ror r0, r1, #8
 add r0, r1, r2, lsl #2
 add r0, r1, r2
 adds r0, r1, r2
 adds r0, r1, #3
 adds r0, #33
 add r8, r1
 add r0, r1, #1024
 addw r0, r1, #1025
 subw r0, r1, #1025
 movw r0, #1234
 movt r0, #1234
 mov r0, #0x10001
 mvn r0, #5
 mvns r0, r1
 rsbs r0, r1, #0
 rsb r0, r1, #4
 cmp r0, r1
 cmp r0, #3
 cmp r8, r9
 cmp.w r0, #300
 cmn r0, r1
 cmp r0, r1, lsl #2
 tst r0, r1
 tst r0, #256
 teq r0, r1
 orn r0, r1, r2
 adr r0, f+1000
 add r0, sp, #8
 add sp, #8
 sub sp, #8
 ldr r0, [r1]
 ldr r0, [r1, r2]
 ldr r0, [r1, r2, lsl #2]
 ldr r0, [r1], #4
 ldr r0, [r1, #4]!
 ldr r0, [r1, #-4]
 ldr r0, [r1, #1000]
 ldr r0, [sp, #4]
 ldr.w r0, [sp, #4]
 ldrsb r0, [r1, r2]
 ldrsb r0, [r1, #3]
 ldrb r0, [r1, #3]
 ldrh r0, [r1, #2]
 ldrsh r0, [r1, #2]
 ldrsh.w r0, [r1, r2, lsl #1]
 ldr r0, [pc, #16]
 ldr.w r8, [pc, #16]
 ldrd r0, r1, [r2]
 ldrd r0, r1, [r2, #8]!
 ldrd r0, r1, [r2], #8
 strd r0, r1, [r2]
 strd r0, r1, [r2], #8
 str r0, [r1]
 str r0, [r1], #4
 strb r0, [r1, r2]
 strh r0, [r1, #2]
 strb.w r0, [r1, r2]
 str r0, [sp, #4]
 ldmia r0!, {r1-r4}
 ldmia.w r0!, {r1-r4, r8}
 ldmdb r0, {r1-r4}
 stmia r0!, {r1-r4}
 stmdb r0!, {r1, r8}
 push {r4-r7, lr}
 push.w {r4-r11, lr}
 pop {r4-r7}
 ldrex r0, [r1]
 strex r0, r1, [r2]
 pld [r0]
 nop
 nop.w
 dmb
 mrs r0, primask
 it eq
 moveq r0, #1
 itt ne
 addne r0, r1, r2
 ldrne r0, [r1]
 cbz r0, 1f
 cbnz r0, 1f
1: b 1b
 b.w 1b
 beq 1b
 beq.w 1b
 bl 1b
 blx r0
 tbb [pc, r0]
 tbh [pc, r0, lsl #1]
 vadd.f32 s0, s1, s2
 vsub.f32 s31, s30, s29
 vmul.f32 s0, s1, s2
 vnmul.f32 s0, s1, s2
 vmla.f32 s0, s1, s2
 vmls.f32 s0, s1, s2
 vnmla.f32 s0, s1, s2
 vfma.f32 s0, s1, s2
 vfms.f32 s0, s1, s2
 vfnma.f32 s0, s1, s2
 vdiv.f32 s0, s1, s2
 vsqrt.f32 s0, s1
 vabs.f32 s3, s4
 vneg.f32 s3, s4
 vmov.f32 s3, s4
 vmov.f32 s3, #1.0
 vcmp.f32 s3, s4
 vcmpe.f32 s3, #0.0
 vcvt.s32.f32 s0, s1
 vcvtr.s32.f32 s0, s1
 vcvt.f32.s32 s5, s5
 vcvt.f32.u32 s5, s6
 vmov r0, s1
 vmov s1, r0
 vmov s2, s3, r4, r5
 vmov r4, r5, s2, s3
 vmrs APSR_nzcv, fpscr
 vldr s0, [r0]
 vldr d0, [r0, #8]
 vstr s3, [r0]
 vldmia r0!, {s0-s3}
 vstmia r0!, {s4-s7}
 vpush {d8-d11}
 vpop {d8-d11}
 bx lr
